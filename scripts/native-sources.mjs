// @ts-check
/**
 * Prints the C++ sources of one part of the addon, one path per line, for binding.gyp:
 * `node scripts/native-sources.mjs baseline|neon|avx2|avx512|avx512bf16|addon`. The folders come from native/sources.txt, which
 * CMakeLists.txt reads too, so that both builds see the same files.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const isaSuffixes = ['neon', 'avx2', 'avx512', 'avx512bf16'];

/** @param {string} folder relative to the package's root */
function sourcesIn(folder) {
  const url = new URL(`${folder}/`, root);
  if (!existsSync(url)) return [];
  const names = readdirSync(url).filter((name) => name.endsWith('.cpp'));
  return names.sort().map((name) => `${folder}/${name}`);
}

/** @param {string} source @param {string} isa */
const isFor = (source, isa) => source.endsWith(`_${isa}.cpp`);

const folders = readFileSync(new URL('native/sources.txt', root), 'utf8').trim().split('\n');
const library = folders.flatMap((folder) => sourcesIn(`native/${folder}`));

const part = process.argv[2] ?? '';
if (part === 'addon') {
  console.log(sourcesIn('native/addon').join('\n'));
} else if (part === 'baseline') {
  console.log(library.filter((source) => !isaSuffixes.some((isa) => isFor(source, isa))).join('\n'));
} else if (isaSuffixes.includes(part)) {
  console.log(library.filter((source) => isFor(source, part)).join('\n'));
} else {
  console.error(
    `expected baseline, neon, avx2, avx512, avx512bf16 or addon, received ${JSON.stringify(part)}`,
  );
  process.exitCode = 2;
}
