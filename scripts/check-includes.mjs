// @ts-check
/**
 * Holds the arrows between the folders of native/: `node scripts/check-includes.mjs [ROOT]` prints every include that
 * scripts/folder-rules.mjs forbids and exits with 1 when there is one. ROOT holds native/, bench/native/ and bench/gpu/; the
 * default is the package's own root.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { kernelTables, nativeRules, nodeHeaders } from './folder-rules.mjs';

const root = path.resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));
const native = path.join(root, 'native');
/** Folders beside native/, by the name that the rules have for them. */
const benches = new Map([
  ['bench', path.join(root, 'bench', 'native')],
  ['bench/gpu', path.join(root, 'bench', 'gpu')],
]);

/** @param {string} folder absolute path */
function sourcesUnder(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return entries.filter((name) => /\.(h|cpp|cu|cuh)$/.test(name)).map((name) => path.join(folder, name));
}

/**
 * The folder of native/ that a file lies in ('kernels/cpu'), or the name of a folder of benches.
 * @param {string} file absolute path
 */
function folderOf(file) {
  for (const [name, bench] of benches) {
    if (file.startsWith(bench + path.sep)) return name;
  }
  return path.dirname(path.relative(native, file)).split(path.sep).join('/');
}

/**
 * Why `file` may not include `header`, or null when it may.
 * @param {string} file absolute path
 * @param {string} header as written between the quotes or brackets
 */
function objection(file, header) {
  const folder = folderOf(file);
  const allowed = nativeRules[folder];
  if (allowed === undefined) return `${folder} has no entry in scripts/folder-rules.mjs`;
  if (nodeHeaders.test(header))
    return folder === 'addon' ? null : 'only native/addon may include Node headers';

  const target = [path.dirname(file), native].map((base) => path.join(base, header)).find(existsSync);
  if (target === undefined) return 'no such header in this repository; use <> for the standard library';
  const table = kernelTables.find(({ header }) => path.relative(native, target) === header);
  if (table !== undefined && !table.callers.includes(folder)) {
    return `only ${table.callers.join(', ')} may call these kernels`;
  }
  const targetFolder = folderOf(target);
  if (targetFolder === folder || allowed.includes(targetFolder)) return null;
  return `${folder} may include from: ${[folder, ...allowed].join(', ')}`;
}

let violations = 0;
const files = [native, ...benches.values()].flatMap(sourcesUnder);
for (const file of files) {
  for (const [index, line] of readFileSync(file, 'utf8').split('\n').entries()) {
    const [, opening, header] = /^\s*#\s*include\s*([<"])([^>"]+)[>"]/.exec(line) ?? [];
    if (header === undefined || (opening === '<' && !nodeHeaders.test(header))) continue;
    const reason = objection(file, header);
    if (reason === null) continue;
    violations += 1;
    console.error(`${path.relative(root, file)}:${index + 1}: ${header}: ${reason}`);
  }
}
console.log(`${files.length} files, ${violations} forbidden includes`);
process.exitCode = violations === 0 && files.length > 0 ? 0 : 1;
