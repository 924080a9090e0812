// @ts-check
/** The part of a Markdown page that a program writes: between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. */
import { readFileSync, writeFileSync } from 'node:fs';
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
  if (process.argv.includes('--check')) {
    if (written !== current) throw new Error(`${page} does not show what is computed: run ${remedy}`);
  } else {
    writeFileSync(path, written);
  }
}
