// @ts-check
/**
 * Shows that the tests of the GPU kernels see the bugs they are for: `node scripts/mutate-kernels.mjs [--only TEXT] [BUILD]`
 * applies the changes of native/test/cuda/mutations.mjs one at a time, compiles what each touches, and runs the test program
 * that must fail then. A text that is no longer where it was, a change that does not compile and a test that still passes
 * fail the run. BUILD (default build-native, as `npm run test:native` leaves it) gives compile commands and libraries.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { mutations } from '../native/test/cuda/mutations.mjs';

/** @typedef {import('../native/test/cuda/mutations.mjs').Mutation} Mutation */

/** A kernel that waits for what never comes is told so by the emulator; this is for one that spins. */
const testTimeoutMs = 60_000;

const run = promisify(execFile);
const { values: options, positionals } = parseArgs({
  options: { only: { type: 'string', default: '' } },
  allowPositionals: true,
});
const root = fileURLToPath(new URL('..', import.meta.url));
const native = path.join(root, 'native');
const build = path.resolve(root, positionals[0] ?? 'build-native');
const scratch = path.join(build, 'mutations');

/** @type {{file: string, command: string, directory: string}[]} */
const commands = JSON.parse(readFileSync(path.join(build, 'compile_commands.json'), 'utf8'));

/** @param {string} file absolute path of a source that the emulator runs */
function commandOf(file) {
  const found = commands.find((one) => one.file === file && one.command.includes('-DELASTICLM_EMULATED'));
  const object = / -o (\S+)/.exec(found?.command ?? '')?.[1];
  if (found === undefined || object === undefined) throw new Error(`${file}: no compile command in ${build}`);
  return { ...found, object };
}

/**
 * Every header of native/ that a source reads, itself included.
 * @param {string} file absolute path @param {Set<string>} seen
 */
function readsOf(file, seen = new Set()) {
  if (seen.has(file) || !existsSync(file)) return seen;
  seen.add(file);
  for (const [, header] of readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)) {
    if (header !== undefined) readsOf(path.join(native, header), seen);
  }
  return seen;
}

const kernels = readdirSync(path.join(native, 'kernels/cuda'))
  .filter((name) => name.endsWith('.cu'))
  .map((name) => path.join(native, 'kernels/cuda', name));

/**
 * The file's text with the change made; throws when the text to change is not exactly where the list says.
 * @param {Mutation} mutation
 */
function mutated({ file, find, occurrence, replace }) {
  const parts = readFileSync(path.join(native, file), 'utf8').split(find);
  const count = parts.length - 1;
  if (occurrence === undefined ? count !== 1 : count < occurrence) {
    throw new Error(
      `${file} holds the text to change ${count} times, expected ${occurrence ?? 'once'}: ${find}`,
    );
  }
  const before = occurrence ?? 1;
  return parts.slice(0, before).join(find) + replace + parts.slice(before).join(find);
}

/** @param {string} name of a test program */
const testObject = (name) => commandOf(path.join(native, 'test/cuda', `${name}.cpp`));

/**
 * Compiles the change and links it before the library that holds the same objects unchanged.
 * @param {Mutation} mutation @param {string} folder
 */
async function buildMutant(mutation, folder) {
  const overlay = path.join(folder, 'native');
  const changed = path.join(overlay, mutation.file);
  mkdirSync(path.dirname(changed), { recursive: true });
  writeFileSync(changed, mutated(mutation));
  const target = path.join(native, mutation.file);
  const objects = [];
  for (const source of kernels.filter((kernel) => readsOf(kernel).has(target))) {
    const { command, directory, object } = commandOf(source);
    const output = path.join(folder, `${path.basename(source)}.o`);
    // A change may leave a variable unused.
    const compile = command
      .replace(' -Werror', '')
      .replace(` -I${native}`, ` -I${overlay} -I${native}`)
      .replace(` -o ${object}`, ` -o ${output}`)
      .replace(` -c ${source}`, ` -c ${source === target ? changed : source}`);
    await run('sh', ['-c', compile], { cwd: directory });
    objects.push(output);
  }
  if (objects.length === 0) throw new Error(`${mutation.file}: no kernel reads it`);
  const program = path.join(folder, mutation.test);
  const { directory, object } = testObject(mutation.test);
  const libraries = readdirSync(build)
    .filter((name) => /^lib(device_test_support|test_harness|device_emulated|elasticlm_core)\.a$/.test(name))
    .map((name) => path.join(build, name));
  const link = [
    path.resolve(directory, object),
    ...objects,
    '-Wl,--start-group',
    ...libraries,
    '-Wl,--end-group',
  ];
  await run('c++', [...link, '-pthread', '-ldl', '-o', program]);
  return program;
}

/**
 * Whether the program passes.
 * @param {string} program @param {string} filter of its cases
 */
async function passes(program, filter) {
  try {
    await run(program, [filter], { timeout: testTimeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 26 });
    return true;
  } catch {
    return false;
  }
}

/** @param {Mutation} mutation @param {number} position @returns {Promise<string | undefined>} what is wrong */
async function judge(mutation, position) {
  const folder = path.join(scratch, String(position));
  try {
    const program = await buildMutant(mutation, folder);
    return (await passes(program, mutation.filter)) ? 'SURVIVED' : undefined;
  } catch (error) {
    const { stderr, message } = /** @type {{stderr?: string, message: string}} */ (error);
    return `could not be tried: ${(stderr ?? '').slice(0, 2000) || message}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Works through `items` on all cores.
 * @template T @param {readonly T[]} items @param {(item: T, position: number) => Promise<void>} work
 */
async function onAllCores(items, work) {
  let next = 0;
  const worker = async () => {
    for (let position = next++; position < items.length; position = next++) {
      await work(/** @type {T} */ (items[position]), position);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

const chosen = mutations.filter((one) => `${one.file} ${one.name}`.includes(options.only));
const suites = [...new Set(chosen.map((one) => `${one.test} ${one.filter}`))].map((suite) => {
  const space = suite.indexOf(' ');
  return { test: suite.slice(0, space), filter: suite.slice(space + 1) };
});
// What the changes are compared with must be of the present sources.
const targets = [...new Set(suites.map(({ test }) => `cuda_${test}`))];
await run('cmake', ['--build', build, '--parallel', String(availableParallelism()), '--target', ...targets], {
  maxBuffer: 1 << 26,
});
let failed = 0;
let passed = 0;

await onAllCores(suites, async ({ test, filter }) => {
  if (await passes(path.join(build, `cuda_${test}`), filter)) return;
  failed += 1;
  console.error(`${test} '${filter}' fails, or has no such case, with nothing changed`);
});
if (failed === 0) {
  await onAllCores(chosen, async (mutation, position) => {
    const start = performance.now();
    const wrong = await judge(mutation, position);
    if (wrong === undefined) passed += 1;
    else failed += 1;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`${mutation.file} (${mutation.class}) ${mutation.name}: ${wrong ?? 'seen'} ${seconds} s`);
  });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
