/** Libraries of the cuda backend for machines without a GPU: fakes made here, and the real one in the emulator. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProcess } from './run-process.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** What happens on each device of a fake library (test/cuda/fake-library.cpp). */
export const fakeDevices = { sound: 0, old: 1, full: 2, broken: 3, strange: 4 } as const;

/** A shared library in `folder` of one C++ source; `flags` come before it. */
export async function buildLibrary(
  folder: string,
  name: string,
  source: string,
  flags: readonly string[] = [],
): Promise<string> {
  const library = join(folder, name);
  const common = ['-std=c++20', '-O1', '-shared', '-fPIC', `-I${join(root, 'native')}`];
  const { code, stderr } = await runProcess(compiler, [...common, ...flags, source, '-o', library]);
  if (code !== 0) throw new Error(`${compiler} ended with ${code ?? 'a signal'}: ${stderr}`);
  return library;
}

export const fakeSource = join(root, 'test/cuda/fake-library.cpp');

const compiler = process.env.CXX?.split(' ').at(-1) ?? 'c++';

/** Why the fakes cannot be built here; undefined where they can. */
export async function whyNoCompiler(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'the cuda backend is for Linux';
  try {
    const { code } = await runProcess(compiler, ['--version']);
    return code === 0 ? undefined : `${compiler} --version fails`;
  } catch {
    return `no ${compiler}`;
  }
}

const emulatedLibrary = join(root, 'build-emulated/elasticlm_cuda_emulated.so');

/**
 * The backend's own library: the emulated build, which `npm run build:emulated` makes, or on a machine with a GPU the real one,
 * if ELASTICLM_TEST_CUDA_LIBRARY names it.
 */
export const deviceLibrary = process.env.ELASTICLM_TEST_CUDA_LIBRARY ?? emulatedLibrary;

/** Why there is no such library; undefined where there is one. */
export function whyNoDeviceLibrary(): string | undefined {
  return existsSync(deviceLibrary) ? undefined : `no ${deviceLibrary}: npm run build:emulated`;
}

/** Runs `body` with environment variables set, or unset where undefined. */
export async function withEnvironment<T>(
  variables: Record<string, string | undefined>,
  body: () => Promise<T>,
): Promise<T> {
  const before = Object.fromEntries(Object.keys(variables).map((name) => [name, process.env[name]]));
  const set = (values: Record<string, string | undefined>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };
  set(variables);
  try {
    return await body();
  } finally {
    set(before);
  }
}
