// @ts-check
/** What programs write: a part of a Markdown page, between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, or a whole file. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

/** @param {readonly string[]} head @param {readonly (readonly (string | number)[])[]} rows */
export const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/**
 * Writes `text` into the section, or, with `--check` on the command line, throws when it is not what stands there.
 * @param {string} page relative to the repository's root
 * @param {string} name of the section
 * @param {string} text
 * @param {string} remedy the command that writes it
 */
export async function writeSection(page, name, text, remedy) {
  const path = fileURLToPath(new URL(`../${page}`, import.meta.url));
  const begin = `<!-- ${name}:begin -->`;
  const end = `<!-- ${name}:end -->`;
  const current = readFileSync(path, 'utf8');
  const [before, rest] = current.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`${page} has no ${begin} … ${end}`);
  const style = await resolveConfig(path);
  const written = await format(`${before}${begin}\n\n${text}\n\n${end}${after}`, {
    ...style,
    parser: 'markdown',
  });
  checkOrWrite({ name: page, path, current, written, remedy });
}

/**
 * Writes a whole file that a program makes, or, with `--check`, throws when it is not what stands there.
 * @param {string} file relative to the repository's root
 * @param {string} written
 * @param {string} remedy the command that writes it
 */
export function writeGenerated(file, written, remedy) {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
  const current = existsSync(path) ? readFileSync(path, 'utf8') : '';
  checkOrWrite({ name: file, path, current, written, remedy });
}

/** @param {{ name: string, path: string, current: string, written: string, remedy: string }} generated */
function checkOrWrite({ name, path, current, written, remedy }) {
  if (!process.argv.includes('--check')) writeFileSync(path, written);
  else if (written !== current) throw new Error(`${name} does not show what is computed: run ${remedy}`);
}
