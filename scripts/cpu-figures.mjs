// @ts-check
/**
 * The README's figures of whole models on the CPU, from the records of bench/cpu.ts and bench/quality.ts.
 */
import { cpuChart } from './cpu-chart.mjs';
import { table } from './generated-section.mjs';

/** @typedef {(path: string) => any} Read a stored record as JSON */

export const chartPath = 'docs/cpu-latency.svg';

const precisions = ['f32', 'bf16', 'i8'];
const precisionNames = /** @type {Record<string, string>} */ ({ f32: 'f32', bf16: 'bf16', i8: 'int8' });
const runtimes = [
  { name: 'onnxruntime', prefix: 'onnxruntime-node' },
  { name: 'transformers.js', prefix: '@huggingface/transformers' },
  { name: 'node-llama-cpp', prefix: 'node-llama-cpp' },
];

const paths = {
  speed: 'bench/results/cpu-speed.json',
  base: 'bench/results/cpu-base.json',
  levels: 'bench/results/cpu-levels.json',
  index: 'bench/results/cpu-index.json',
  precision: 'docs/results/precision.json',
};

/**
 * One run of a record in pieces.
 * @param {Read} read
 * @param {keyof typeof paths} part
 * @param {Record<string, unknown>} key
 */
function runOf(read, part, key) {
  const run = read(paths[part]).runs.find((/** @type {any} */ candidate) =>
    Object.entries(key).every(([name, value]) => candidate[name] === value),
  );
  if (run !== undefined) return run;
  const wanted = Object.entries(key)
    .map(([name, value]) => `--${name} ${value}`)
    .join(' ');
  const command =
    part === 'precision'
      ? `npm run bench:quality -- ${wanted.replace('--level', '--levels')}`
      : `npm run bench -- --part ${part} ${wanted}`;
  throw new Error(`${paths[part]} lacks a run that the README shows: run ${command}`);
}

/** @param {any} run @param {string} path */
const source = (run, path) =>
  `[${path}](${path}): ${run.machine.cpu}, ${run.machine.cores} cores, ${run.date.slice(0, 10)}`;

/** @param {number} ms */
const time = (ms) => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
/** @param {number} ratio */
const times = (ratio) => `${ratio.toFixed(2)}x`;
/** @param {number | null} share */
const percent = (share) => (share === null ? '–' : `${Math.round(100 * share)}%`);

/**
 * The fastest form of a runtime at a shape.
 * @param {any} result of a shape
 * @param {{ prefix: string }} runtime
 * @param {string} batching
 */
function fastest(result, { prefix }, batching) {
  const forms = result.peers.filter(
    (/** @type {any} */ peer) =>
      peer.name.startsWith(prefix) &&
      // llama.cpp takes one text after another, however a batch is cut
      (peer.batching === batching || prefix === 'node-llama-cpp'),
  );
  return forms.sort((/** @type {any} */ a, /** @type {any} */ b) => a.speedup.value - b.speedup.value)[0];
}

/** @param {any} result */
const batchingsOf = (result) => [
  ...new Set(result.peers.map((/** @type {any} */ peer) => /** @type {string} */ (peer.batching))),
];

/**
 * A table of one precision: one thread in full, and the speed-up on two.
 * @param {any} one @param {any} two runs on one and two threads
 */
function comparison(one, two) {
  const rows = one.shapes.flatMap((/** @type {any} */ result) =>
    batchingsOf(result).map((batching) => {
      const peers = runtimes.map((runtime) => fastest(result, runtime, batching));
      const twin = two.shapes.find((/** @type {any} */ other) => other.shape === result.shape);
      return [
        batching === 'whole' ? result.shape : `${result.shape}, peers ${batching}`,
        time(result.medianMs),
        ...peers.map((peer) => (peer === undefined ? 'not available' : time(peer.medianMs))),
        times(peers[0].speedup.value),
        times(fastest(twin, /** @type {any} */ (runtimes[0]), batching).speedup.value),
        percent(result.shareOfPeak.value),
      ];
    }),
  );
  const names = runtimes.map(({ name }) => name);
  return table(['batch', 'elasticlm', ...names, 'over onnxruntime', 'on two threads', 'of the peak'], rows);
}

/** @param {Read} read */
function speedFigures(read) {
  const lines = precisions.flatMap((precision) => {
    const [one, two] = [1, 2].map((threads) => runOf(read, 'speed', { precision, threads }));
    const versions = runtimes.map(({ prefix }) => {
      const [first] = one.shapes;
      return first.peers.find((/** @type {any} */ peer) => peer.name.startsWith(prefix))?.name.split(',')[0];
    });
    const known = versions.filter((version) => version !== undefined).join(', ');
    return [
      `**${precisionNames[precision]}** beside ${known} (${source(one, paths.speed)}):`,
      '',
      comparison(one, two),
      '',
    ];
  });
  return [
    'all-MiniLM-L6-v2 at level 1, one thread, each batch in one process and in turns; the fastest form of each runtime on the',
    'same weights. onnxruntime and transformers.js have no bf16 on CPUs and run in f32 there; in int8 they quantise dynamically.',
    '',
    ...lines,
  ];
}

/** @param {Read} read */
function baseFigures(read) {
  const rows = precisions.flatMap((precision) => {
    const [one, two] = [1, 2].map((threads) => runOf(read, 'base', { precision, threads }));
    return one.shapes.map((/** @type {any} */ result) => {
      const [peer, twin] = [result, two.shapes.find((/** @type {any} */ r) => r.shape === result.shape)].map(
        (shape) => fastest(shape, /** @type {any} */ (runtimes[0]), 'whole'),
      );
      return [
        precisionNames[precision],
        result.shape,
        time(result.medianMs),
        time(peer.medianMs),
        times(peer.speedup.value),
        times(twin.speedup.value),
      ];
    });
  });
  return [
    `The shape of BERT-base, random weights, one thread (${source(runOf(read, 'base', { precision: 'f32', threads: 1 }), paths.base)}):`,
    '',
    table(['precision', 'batch', 'elasticlm', 'onnxruntime', 'over onnxruntime', 'on two threads'], rows),
  ];
}

/** @param {Read} read */
function levelFigures(read) {
  const runs = precisions.map((precision) => runOf(read, 'levels', { precision, threads: 1 }));
  const rows = runs[0].levels
    .map((/** @type {any} */ result, /** @type {number} */ i) => ({ result, i }))
    .filter((/** @type {any} */ { result }) => result.level < 1 && ['1x32', '8x128'].includes(result.shape))
    .map((/** @type {any} */ { result, i }) => [
      result.shape,
      result.level,
      result.computeFraction.toFixed(2),
      ...runs.map((run) => run.levels[i].overLevelOne.value.toFixed(2)),
    ]);
  const names = precisions.map((precision) => `time in ${precisionNames[precision]}`);
  return [
    `![Latency by level and precision, and that of other runtimes](${chartPath})`,
    '',
    `Smaller levels on one thread, over level 1 of the same precision (${source(runs[0], paths.levels)}):`,
    '',
    table(['batch', 'level', 'flops', ...names], rows),
  ];
}

/** @param {Read} read */
function indexFigures(read) {
  const run = runOf(read, 'index', { threads: 2 });
  const rows = run.own.map((/** @type {any} */ own) => [
    precisionNames[own.precision],
    Math.round(own.tokensPerSecond),
    Math.round(run.peer.tokensPerSecond),
    times(own.speedup.value),
  ]);
  return [
    `${run.documents} documents of SciFact (${run.tokens} tokens) from text to vectors on two threads, beside ${run.peer.name} with`,
    `${run.peer.batching}, tokenized ${run.peer.tokenized} (${source(run, paths.index)}):`,
    '',
    table(['precision', 'tokens/s', 'onnxruntime tokens/s', 'speed-up'], rows),
  ];
}

/** @param {Read} read */
function precisionFigures(read) {
  const runs = [1, 0.5, 0.25, 0.1].map((level) => runOf(read, 'precision', { level }));
  const rows = ['scifact', 'cranfield'].flatMap((collection) =>
    runs.map((run) => [
      collection,
      run.level,
      ...precisions.map((precision) => {
        const entry = run.retrieval.find(
          (/** @type {any} */ candidate) =>
            candidate.collection === collection &&
            candidate.precision === precision &&
            candidate.indexLevel === run.level,
        );
        if (entry === undefined)
          throw new Error(
            `${paths.precision} lacks ${collection} in ${precision}: run npm run bench:quality`,
          );
        return entry['ndcg@10'].toFixed(4);
      }),
    ]),
  );
  return [
    `nDCG@10 by precision, queries and index at the same level (${source(runs[0], paths.precision)}):`,
    '',
    table(['data', 'level', ...precisions.map((precision) => precisionNames[precision] ?? precision)], rows),
  ];
}

/**
 * The Markdown lines, and the chart that they show.
 * @param {Read} read
 */
export async function cpuFigures(read) {
  const lines = [
    ...speedFigures(read),
    ...levelFigures(read),
    '',
    ...baseFigures(read),
    '',
    ...indexFigures(read),
    '',
    ...precisionFigures(read),
  ];
  const panels = precisions.map((precision) => ({
    name: precisionNames[precision] ?? precision,
    levels: runOf(read, 'levels', { precision, threads: 1 }).levels,
    shapes: runOf(read, 'speed', { precision, threads: 1 }).shapes,
  }));
  return { lines, chart: await cpuChart(panels, runtimes) };
}
