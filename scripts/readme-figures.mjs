// Writes the README's figures from the stored records, so that no number in it is typed by hand. `--check` only compares.
import { existsSync, readFileSync } from 'node:fs';
import { chartPath, cpuFigures } from './cpu-figures.mjs';
import { table, writeGenerated, writeSection } from './generated-section.mjs';

const remedy = 'npm run figures';
const urlOf = (path) => new URL(`../${path}`, import.meta.url);

function read(path) {
  if (!existsSync(urlOf(path))) throw new Error(`${path} is not there yet: ${makerOf(path)} writes it`);
  return JSON.parse(readFileSync(urlOf(path), 'utf8'));
}

/** The command that leaves a record. */
function makerOf(path) {
  const part = /^bench\/results\/cpu-(.*)\.json$/.exec(path)?.[1];
  if (part !== undefined) return `npm run bench -- --part ${part}`;
  const makers = {
    'docs/results/precision.json': 'npm run bench:quality',
    'docs/results/distillation.json': 'npm run bench:distillation',
  };
  return makers[path] ?? 'npm run accept';
}

const source = (record, path) =>
  `[${path}](${path}): ${record.machine.cpu}, ${record.machine.cores} cores, ${record.date.slice(0, 10)}`;

function qualityFigures() {
  const path = 'docs/results/retrieval.json';
  const record = read(path);
  const rows = record.levels.map((r) => [
    r.collection,
    r.level,
    r.indexLevel,
    r['ndcg@10'].toFixed(3),
    r['recall@100'].toFixed(3),
  ]);
  return [
    `all-MiniLM-L6-v2, only cut, not trained (${source(record, path)}):`,
    '',
    table(['data', 'query level', 'index level', 'nDCG@10', 'recall@100'], rows),
  ];
}

/** The trained levels beside the same levels only cut. */
function trainingFigures() {
  const path = 'docs/results/distillation.json';
  const run = read(path).runs.find(({ name }) => name === 'minilm-embedding');
  if (run === undefined)
    throw new Error(`${path} has no run minilm-embedding: npm run bench:distillation writes it`);
  const names = { scifact: 'SciFact', cranfield: 'Cranfield', mdn: 'MDN dev', stsb: 'STS-B dev' };
  const levels = [...new Set(run.quality.map(({ level }) => level))];
  const rows = levels.map((level) => [
    level,
    ...Object.keys(names).map((measure) => {
      const one = run.quality.find((entry) => entry.measure === measure && entry.level === level);
      return level === 1 ? one.trained.toFixed(3) : `${one.cut.toFixed(3)} → ${one.trained.toFixed(3)}`;
    }),
  ]);
  return [
    `models/minilm-elastic, before and after its levels were trained together (${source(run, path)}): nDCG@10 of queries`,
    `at each level against one index of level 1, and Spearman on STS-B, in ${run.precision}:`,
    '',
    table(['level', ...Object.values(names)], rows),
  ];
}

async function speedFigures() {
  const { lines, chart } = await cpuFigures(read);
  writeGenerated(chartPath, chart, remedy);
  return lines;
}

try {
  const figures = [...(await speedFigures()), '', ...trainingFigures(), '', ...qualityFigures()].join('\n');
  await writeSection('README.md', 'figures', figures, remedy);
} catch (error) {
  process.stderr.write(`figures: ${error.message}\n`);
  process.exitCode = 1;
}
