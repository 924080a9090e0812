// @ts-check
/**
 * Prints the commands of one marked block of the README, so that CI runs what the README says and nothing else:
 * `node scripts/readme-commands.mjs demo|test`. A block is a sh fence directly below `<!-- run:NAME -->`.
 * Exits with 1 when the README has no such block or more than one.
 */
import { readFileSync } from 'node:fs';

const name = process.argv[2] ?? '';
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const blocks = [...readme.matchAll(/^<!-- run:(\S+) -->\n+```sh\n(.*?)^```$/gms)];
const commands = blocks.filter(([, blockName]) => blockName === name).map(([, , body]) => body ?? '');

if (commands.length === 1 && commands[0]?.trim()) {
  process.stdout.write(commands[0]);
} else {
  console.error(
    `expected one non-empty sh block below <!-- run:${name} --> in README.md, found ${commands.length}`,
  );
  process.exitCode = 1;
}
