// @ts-check
/**
 * The weights of models/minilm-elastic, from the default model and the collections of `--data`: cut by the recipe, then distilled.
 * Every further argument is one of `elasticlm distill`, such as --max-minutes 480; a run that is there goes on.
 *
 *   npm run train:minilm -- --data ../shared/data [--recipe recipes/minilm-embedding.json] [--max-minutes 480]
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const args = process.argv.slice(2);
const recipeAt = args.indexOf('--recipe');
const [recipe] = recipeAt < 0 ? ['recipes/minilm-embedding.json'] : args.splice(recipeAt, 2).slice(1);
const command = ['dist/cli/main.mjs', 'distill', '--config', recipe ?? '', '--resume', ...args];
const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' });
process.exitCode = status ?? 1;
