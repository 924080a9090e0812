import type { Encoding } from '../types.js';

/**
 * Cuts a list of encodings, kept in order, into runs of at most `maxTokens` tokens; a longer encoding is a run of its own.
 * One batch per run bounds the memory of a large request and lets other requests in between. Results do not depend on it.
 */
export function splitByTokens<Item extends Encoding>(
  encodings: readonly Item[],
  maxTokens: number,
): Item[][] {
  const runs: Item[][] = [];
  let tokens = 0;
  for (const encoding of encodings) {
    const run = runs.at(-1);
    const length = encoding.inputIds.length;
    if (run === undefined || tokens + length > maxTokens) {
      runs.push([encoding]);
      tokens = length;
    } else {
      run.push(encoding);
      tokens += length;
    }
  }
  return runs;
}
