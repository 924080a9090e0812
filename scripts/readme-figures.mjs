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
  return path === 'docs/results/precision.json' ? 'npm run bench:quality' : 'npm run accept';
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

async function speedFigures() {
  const { lines, chart } = await cpuFigures(read);
  writeGenerated(chartPath, chart, remedy);
  return lines;
}

try {
  const figures = [...(await speedFigures()), '', ...qualityFigures()].join('\n');
  await writeSection('README.md', 'figures', figures, remedy);
} catch (error) {
  process.stderr.write(`figures: ${error.message}\n`);
  process.exitCode = 1;
}
