// @ts-check
/**
 * Makes a trained checkpoint a package below models/: the files that a loader reads, and a README with the quality table that
 * training left in elastic.json.
 *
 *   node scripts/pack-model.mjs --from runs/minilm-embedding/distill/model --to models/minilm-elastic
 *
 * models/<name>/package.json is written by hand and must be there: name, version and licence are nobody's to guess.
 */
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { table } from './generated-section.mjs';

/** @typedef {{ task: string, metric: string, by_level: Record<string, number> }} Quality */
/** @typedef {{ level: number, heads: number[], neurons: number[], adapter?: number }} Level */

const { values } = parseArgs({ options: { from: { type: 'string' }, to: { type: 'string' } } });
const { from, to } = values;
if (from === undefined || to === undefined) throw new Error('expected --from FOLDER and --to FOLDER');

const packagePath = join(to, 'package.json');
if (!existsSync(packagePath)) throw new Error(`expected ${packagePath}, written by hand`);
/** @type {{ name: string, description: string, files: string[] }} */
const packed = JSON.parse(readFileSync(packagePath, 'utf8'));
const files = packed.files.filter((name) => name !== 'README.md');
for (const name of files) copyFileSync(join(from, name), join(to, name));

/** @type {{ levels: Level[], quality: Quality[] }} */
const { levels, quality } = JSON.parse(readFileSync(join(to, 'elastic.json'), 'utf8'));
const sum = (/** @type {number[]} */ counts) => counts.reduce((total, count) => total + count, 0);
const rows = levels.map(({ level, heads, neurons }) => [
  level,
  sum(heads),
  sum(neurons),
  ...quality.map(({ by_level: byLevel }) => byLevel[level]?.toFixed(4) ?? ''),
]);
const names = quality.map(({ task, metric }) => `${task} ${metric}`);
const readme = `# ${packed.name}

${packed.description}

\`\`\`ts
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ElasticDenser } from 'elasticlm';

const model = dirname(fileURLToPath(import.meta.resolve('${packed.name}/package.json')));
const denser = await ElasticDenser.load(model);
const { data } = await denser.encode('how do I open a file?', { level: 0.5 });
\`\`\`

Queries of every level search one index built at level 1. What each level keeps, and what it is worth (retrieval: such queries, such an index):

${table(['level', 'heads', 'neurons', ...names], rows)}

Other libraries read the folder as an ordinary BERT checkpoint: level 1.
`;
const readmePath = join(to, 'README.md');
const style = await resolveConfig(readmePath);
writeFileSync(readmePath, await format(readme, { ...style, filepath: readmePath }));
