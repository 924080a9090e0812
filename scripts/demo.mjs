// The main job from end to end, with the package's own commands: search this repository's documentation at every level of
// a trained model, whose queries of all levels share one index.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const model = 'models/minilm-elastic';
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

elasticlm('info', model);
elasticlm('search', model, ...documents, ...queries.flatMap((query) => ['--query', query]));
