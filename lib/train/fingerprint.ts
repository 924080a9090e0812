/** What a resumed run compares, so that it never goes on with other data. */
import { createHash, type Hash } from 'node:crypto';
import { Slices } from '../slices.js';

/** One digest of typed arrays in their order, a piece at a time. */
export async function fingerprint(arrays: Iterable<NodeJS.ArrayBufferView>): Promise<string> {
  const hash: Hash = createHash('sha256');
  const slices = new Slices();
  for (const array of arrays) {
    if (slices.isOver) await slices.next();
    hash.update(array);
  }
  return hash.digest('hex').slice(0, 16);
}
