// @ts-check
/**
 * Puts the library of the cuda backend beside the prebuilt addon, so that it is packed with it: `npm run build:cuda` makes
 * it where nvcc is. Without it the package is complete, and runs on the cpu alone.
 */
import { copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const built = new URL('../build-cuda/elasticlm_cuda.so', import.meta.url);
const folder = new URL(`../prebuilds/${process.platform}-${process.arch}/`, import.meta.url);

if (existsSync(built)) {
  mkdirSync(folder, { recursive: true });
  const packed = new URL('elasticlm_cuda.so', folder);
  copyFileSync(built, packed);
  console.log(`${fileURLToPath(packed)}: ${(statSync(packed).size / 2 ** 20).toFixed(1)} MiB`);
} else {
  console.log('no build-cuda/elasticlm_cuda.so (npm run build:cuda): the package will run on the cpu alone');
}
