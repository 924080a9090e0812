// @ts-check
/**
 * The weights of models/minilm-elastic, from the default model and the collections of `--data`: cut and distilled by the first
 * recipe, distilled further by the second. Every argument is one of `elasticlm distill`, such as --max-minutes 300 (for each of
 * the two); a run that is there goes on.
 *
 *   npm run train:minilm -- --data ../shared/data [--max-minutes 300]
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

for (const name of ['minilm-embedding', 'minilm-embedding-longer']) {
  const config = `recipes/${name}.json`;
  const command = ['dist/cli/main.mjs', 'distill', '--config', config, '--resume', ...process.argv.slice(2)];
  const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' });
  process.exitCode = status ?? 1;
  const isFinished = status === 0 && existsSync(`runs/${name}/distill/model/config.json`);
  if (!isFinished) break;
}
