/**
 * The CPU comparison of this package: a forward at level 1 beside onnxruntime-node on the same weights, and each smaller
 * level beside level 1, in one process and in turns. Run it alone on the machine:
 *
 *   npm run bench -- [--rounds 9] [--out bench/results/cpu-f32.json]
 *
 * It fails when a bar that the project has set itself is missed.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { elasticize, ElasticModel, packBatch, type PackedBatch } from '../lib/index.js';
import { defaultModelDirectory } from '../test/support/default-model.js';
import { readSafetensors } from '../test/support/safetensors.js';
import { buildBertOnnx, type GraphStyle } from './peers/onnx-bert.js';
import { OnnxEncoder } from './peers/onnxruntime.js';
import { writeRecord } from './record.js';
import { alternate, median, medianSpeedup } from './timing.js';

const levels = [1, 0.5, 0.25, 0.1];
const threadCounts = [1, 2];
const graphStyles: GraphStyle[] = ['plain', 'fused'];

/** Level 1 over onnxruntime's throughput at the same work, per shape; the ragged batch against its padded batch. */
const speedupBars: Record<string, number> = { '1x32': 1, '1x128': 1, '8x128': 1, ragged32: 1.9 };
/** Time at a level over the time at level 1, one thread, at the shapes below. */
const costBars: Record<number, number> = { 0.5: 0.6, 0.25: 0.36, 0.1: 0.2 };
const costShapes = ['1x128', '8x128'];

const raggedLengths = Array.from({ length: 32 }, (_, i) => Math.round(8 + (i * 120) / 31));
const shapes: Record<string, number[]> = {
  '1x32': [32],
  '1x128': [128],
  '8x128': new Array<number>(8).fill(128),
  ragged32: raggedLengths,
};

interface SpeedResult {
  shape: string;
  threads: number;
  medianMs: number;
  peerMs: Record<GraphStyle, number>;
  /** over the faster graph */
  speedup: number;
  bar: number;
}

interface CostResult {
  shape: string;
  level: number;
  medianMs: number;
  computeFraction: number;
  /** time over the time at level 1 */
  cost: number;
  bar: number;
}

/** Calibration text for cutting the model: this repository's own documentation, a paragraph each. */
async function documentation(): Promise<string[]> {
  const files = ['README.md', 'docs/architecture.md'];
  const texts = await Promise.all(
    files.map((file) => readFile(new URL(`../${file}`, import.meta.url), 'utf8')),
  );
  return texts.join('\n\n').split(/\n\s*\n/);
}

const forwardOptions = { output: 'pooled', pooling: 'mean', normalize: true } as const;

function makeBatch(lengths: readonly number[], vocabSize: number): PackedBatch {
  return packBatch(
    lengths.map((length, s) => ({
      inputIds: Int32Array.from(
        { length },
        (_, i) => 1000 + ((1009 * (s + 1) + 7919 * i) % (vocabSize - 1000)),
      ),
      tokenTypeIds: new Int32Array(length),
    })),
  );
}

/** A comparison of speeds only counts between runtimes that agree on the result. */
function checkSameVectors(own: Float32Array, peer: Float32Array, what: string): void {
  let worst = 0;
  for (const [i, value] of own.entries()) worst = Math.max(worst, Math.abs(value - peer[i]!));
  // Both are unit vectors computed in f32: elements agree to a few hundred roundings of 1.
  if (own.length !== peer.length || worst > 1e-4) throw new Error(`${what}: vectors differ by ${worst}`);
}

async function measureSpeed(model: ElasticModel, rounds: number): Promise<SpeedResult[]> {
  const { threads } = model.info();
  const tensors = readSafetensors(model.checkpoint.files);
  const read = (name: string): Float32Array => tensors.get(name)!.values;
  const peers: OnnxEncoder[] = [];
  for (const style of graphStyles)
    peers.push(await OnnxEncoder.load(buildBertOnnx(model.config, read, style), threads));
  const results: SpeedResult[] = [];
  for (const [shape, lengths] of Object.entries(shapes)) {
    const batch = makeBatch(lengths, model.config.vocabSize);
    const own = async (): Promise<Float32Array> => (await model.forward(batch, forwardOptions)).data;
    const feeds = peers.map((peer) => peer.pad(batch));
    for (const [p, peer] of peers.entries())
      checkSameVectors(await own(), await peer.forward(feeds[p]!), `${shape} ${graphStyles[p]!}`);
    const { ms } = await alternate([own, ...peers.map((peer, p) => () => peer.forward(feeds[p]!))], rounds);
    const [ownMs, ...peersMs] = ms as [number[], ...number[][]];
    const result = {
      shape,
      threads,
      medianMs: median(ownMs),
      peerMs: { plain: median(peersMs[0]!), fused: median(peersMs[1]!) },
      speedup: Math.min(...peersMs.map((peerMs) => medianSpeedup(ownMs, peerMs))),
      bar: speedupBars[shape]!,
    };
    process.stderr.write(`${shape}, ${threads} threads: ${result.speedup.toFixed(2)}x onnxruntime\n`);
    results.push(result);
  }
  for (const peer of peers) await peer.close();
  return results;
}

async function measureCost(model: ElasticModel, rounds: number): Promise<CostResult[]> {
  const results: CostResult[] = [];
  for (const shape of costShapes) {
    const batch = makeBatch(shapes[shape]!, model.config.vocabSize);
    const subjects = levels.map((level) => () => model.forward(batch, { ...forwardOptions, level }));
    const { ms } = await alternate(subjects, rounds);
    for (const [i, level] of levels.entries()) {
      if (level === 1) continue;
      const cost = 1 / medianSpeedup(ms[i]!, ms[0]!);
      const { computeFraction } = model.levels.find((entry) => entry.level === level)!;
      results.push({ shape, level, medianMs: median(ms[i]!), computeFraction, cost, bar: costBars[level]! });
      process.stderr.write(
        `${shape}, level ${level}: ${cost.toFixed(3)} of level 1 (flops ${computeFraction.toFixed(3)})\n`,
      );
    }
  }
  return results;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '9' },
      out: { type: 'string', default: 'bench/results/cpu-f32.json' },
    },
  });
  const rounds = Number(values.rounds);
  const directory = defaultModelDirectory();
  const folder = await mkdtemp(join(tmpdir(), 'elasticlm-bench-'));
  try {
    const elastic = join(folder, 'elastic');
    await elasticize({ model: directory, output: elastic, texts: await documentation(), levels });
    const speed: SpeedResult[] = [];
    let cost: CostResult[] = [];
    let isa = '';
    for (const threads of threadCounts) {
      await using model = await ElasticModel.load(elastic, { backend: 'cpu', threads });
      isa = model.info().isa;
      if (threads === 1) cost = await measureCost(model, rounds);
      speed.push(...(await measureSpeed(model, rounds)));
    }
    const missed = [
      ...speed.filter(({ speedup, bar }) => speedup < bar).map((r) => `${r.shape} on ${r.threads} threads`),
      ...cost.filter((r) => r.cost > r.bar).map((r) => `${r.shape} at level ${r.level}`),
    ];
    writeRecord(values.out, {
      isa,
      precision: 'f32',
      rounds,
      peer: 'onnxruntime-node 1.30.0',
      speed,
      cost,
      missed,
    });
    if (missed.length > 0) throw new Error(`bars missed: ${missed.join('; ')}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
