// Writes the README's figures from the stored records, so that no number in it is typed by hand. `--check` only compares.
import { readFileSync } from 'node:fs';
import { table, writeSection } from './generated-section.mjs';

const read = (path) => JSON.parse(readFileSync(new URL(`../${path}`, import.meta.url), 'utf8'));
const source = (record, path) =>
  `[${path}](${path}): ${record.machine.cpu}, ${record.machine.cores} cores, ${record.date.slice(0, 10)}`;

function speedFigures() {
  const path = 'bench/results/cpu-f32.json';
  const record = read(path);
  const rows = record.speed.map((r) => [
    r.shape,
    r.threads,
    `${r.medianMs.toFixed(2)} ms`,
    `${Math.min(...Object.values(r.peerMs)).toFixed(2)} ms`,
    `${r.speedup.toFixed(2)}x`,
  ]);
  const costs = record.cost.map((r) => [r.shape, r.level, r.computeFraction.toFixed(2), r.cost.toFixed(2)]);
  return [
    `Level 1 in f32 beside ${record.peer} on the same weights, in one process and in turns (the ragged batch of 8 to 128 tokens`,
    `beside its padded batch), and the time of smaller levels on one thread (${source(record, path)}):`,
    '',
    table(['batch', 'threads', 'elasticlm', 'onnxruntime', 'speed-up'], rows),
    '',
    table(['batch', 'level', 'flops of level 1', 'time of level 1'], costs),
  ];
}

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

const figures = [...speedFigures(), '', ...qualityFigures()].join('\n');
await writeSection('README.md', 'figures', figures, 'npm run figures');
