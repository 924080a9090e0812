/** Where the library of the cuda backend lies. Nothing is loaded here: a model that asks for a GPU does that. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import { addonFolder, findPackage } from './addon.js';

const fileName = 'elasticlm_cuda.so';

/**
 * The path of elasticlm_cuda.so: the one that ELASTICLM_CUDA_LIBRARY names, else the first that is there of the addon's
 * own folder, the package's prebuilt ones, and those that `node-gyp` and `npm run build:cuda` build into.
 * @throws ELASTICLM_BACKEND_UNAVAILABLE when there is none
 */
export function findCudaLibrary(): string {
  const named = process.env.ELASTICLM_CUDA_LIBRARY;
  if (named !== undefined && named !== '') {
    if (existsSync(named)) return named;
    throw missing('the file that the environment variable ELASTICLM_CUDA_LIBRARY names', `none at ${named}`);
  }
  const { root } = findPackage();
  const folders = new Set([
    addonFolder(),
    join(root, 'prebuilds', `${process.platform}-${process.arch}`),
    join(root, 'build', 'Release'),
    join(root, 'build-cuda'),
  ]);
  for (const folder of folders) {
    const path = join(folder, fileName);
    if (existsSync(path)) return path;
  }
  throw missing(fileName, `none in ${[...folders].join(', ')}`);
}

function missing(expected: string, received: string): ElasticError {
  return ElasticError.of('ELASTICLM_BACKEND_UNAVAILABLE', {
    expected,
    subject: "backend 'cuda'",
    received,
    remedy:
      "Build it in a clone of the repository with npm run build:cuda (CUDA 12.8 or later), or choose backend 'cpu'",
  });
}
