// @ts-check
/**
 * What ptxas made of every kernel: `node scripts/cuda-report.mjs [--write]` builds build-cuda/ (scripts/build-cuda.sh),
 * prints registers, spills and static shared memory of each kernel on each target, and fails when a kernel other than a
 * reference one spills, when ptxas has an objection, or when the library is larger than it may be. `--write` keeps
 * docs/results/ptxas.json. CUDA_ARCHITECTURES narrows the targets, as in the build script; such a report is not kept.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The addon is about 2 MB, and npm users download this too; what it takes today leaves room for a few more kernels. */
const maxLibraryBytes = 12_000_000;

const root = fileURLToPath(new URL('..', import.meta.url));
/** @param {string} command @param {readonly string[]} args */
const output = (command, ...args) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });

/**
 * @typedef {object} Kernel
 * @property {string} file of native/kernels/cuda
 * @property {string} kernel
 * @property {string} target
 * @property {number} registers
 * @property {number} spillBytes stores and loads
 * @property {number} stackBytes
 * @property {number} sharedBytes static; what a launch adds is its own
 */

/** Runs of digits keep their order as numbers: sm_90a after sm_90, sm_100 after both. @param {string} a @param {string} b */
const naturalOrder = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** @param {RegExp} pattern @param {string} text */
const numberIn = (pattern, text) => Number(pattern.exec(text)?.[1] ?? 0);

/** @param {string} file @param {string} log what nvcc said with -Xptxas=-v @returns {Kernel[]} */
function kernelsIn(file, log) {
  return log
    .split(/^ptxas info\s*: Compiling entry function /m)
    .slice(1)
    .map((section) => {
      const [, symbol, target] = /^'(\S+)' for '(\S+)'/.exec(section) ?? [];
      if (symbol === undefined || target === undefined) throw new Error(`${file}: unreadable: ${section}`);
      return {
        file,
        kernel: symbol,
        target,
        registers: numberIn(/Used (\d+) registers/, section),
        spillBytes:
          numberIn(/(\d+) bytes spill stores/, section) + numberIn(/(\d+) bytes spill loads/, section),
        stackBytes: numberIn(/(\d+) bytes stack frame/, section),
        sharedBytes: numberIn(/(\d+) bytes smem/, section),
      };
    });
}

/** Replaces mangled names, and the namespaces that all kernels share. @param {Kernel[]} kernels */
function readNames(kernels) {
  const mangled = kernels.map((one) => one.kernel).join('\n');
  const { stdout } = spawnSync('c++filt', { input: mangled, encoding: 'utf8' });
  for (const [i, name] of stdout.trimEnd().split('\n').entries()) {
    const kernel = kernels[i];
    if (kernel === undefined) continue;
    kernel.kernel = name
      .replace(/^void /, '')
      .replace(/\(anonymous namespace\)::|elasticlm::cuda::|elasticlm::/g, '')
      .replace(/\([^()]*\)$/, '');
  }
}

const build = spawnSync('sh', ['scripts/build-cuda.sh'], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
});
if (build.status !== 0) process.exit(1);

const logs = readdirSync(`${root}build-cuda/nvcc`).filter((name) => name.endsWith('.o.log'));
/** @type {Kernel[]} */
const kernels = [];
/** @type {string[]} */
const objections = [];
for (const name of logs.sort()) {
  const file = name.replace(/\.o\.log$/, '.cu');
  const log = readFileSync(`${root}build-cuda/nvcc/${name}`, 'utf8');
  kernels.push(...kernelsIn(file, log));
  for (const [line] of log.matchAll(/^.*(\(C\d+\)|[Ww]arning).*$/gm)) objections.push(`${file}: ${line}`);
}
readNames(kernels);
kernels.sort((a, b) =>
  naturalOrder(`${a.file} ${a.kernel} ${a.target}`, `${b.file} ${b.kernel} ${b.target}`),
);

for (const one of kernels) {
  if (one.spillBytes > 0 && !one.kernel.includes('reference')) {
    objections.push(`${one.file}: ${one.kernel} spills ${one.spillBytes} bytes on ${one.target}`);
  }
}
const libraryBytes = statSync(`${root}build-cuda/elasticlm_cuda.so`).size;
if (libraryBytes > maxLibraryBytes) {
  objections.push(`elasticlm_cuda.so has ${libraryBytes} bytes, expected at most ${maxLibraryBytes}`);
}

// Registers on each target, an exclamation mark where it spills.
const names = [...new Set(kernels.map((one) => `${one.file} ${one.kernel}`))];
for (const name of names) {
  const facts = kernels
    .filter((one) => `${one.file} ${one.kernel}` === name)
    .map((one) => `${one.target.slice(3)}:${one.registers}${one.spillBytes ? '!' : ''}`);
  console.log(`${name}\n    registers ${facts.join(' ')}`);
}
console.log(`${names.length} kernels, elasticlm_cuda.so ${(libraryBytes / 1e6).toFixed(2)} MB`);
for (const objection of objections) console.error(objection);
if (kernels.length === 0) objections.push('no kernel was compiled');

if (process.argv.includes('--write')) {
  if (process.env['CUDA_ARCHITECTURES'] !== undefined) throw new Error('a narrowed report is not kept');
  const record = {
    commit: output('git', 'rev-parse', 'HEAD').trim(),
    modified: output('git', 'status', '--porcelain', '--', 'native', 'cmake', 'CMakeLists.txt') !== '',
    date: new Date().toISOString(),
    nvcc: /V(\d+\.\d+\.\d+)/.exec(output('nvcc', '--version'))?.[1],
    libraryBytes,
    kernels,
  };
  writeFileSync(`${root}docs/results/ptxas.json`, `${JSON.stringify(record, null, 1)}\n`);
}
process.exitCode = objections.length === 0 ? 0 : 1;
