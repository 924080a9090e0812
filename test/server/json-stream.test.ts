import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { listStream, type JsonList } from '../../lib/server/http/json-stream.js';
import { longestGap } from '../support/longest-gap.js';
import { Random } from '../support/random.js';

/** The project's rule for how long the event loop may be held. */
const MAX_HELD_MS = 5;
const MAX_TRIES = 20;

const random = new Random(1);
/** As many as a request may hold, as long as MiniLM's. */
const vectors = Array.from({ length: 2048 }, () => Array.from({ length: 384 }, () => random.normal()));

function listOf(rows: readonly number[][]): JsonList {
  return { before: '{"data":', count: rows.length, item: (idx) => rows[idx]!, after: ',"model":"x"}' };
}

describe('listStream()', () => {
  it.each([0, 1, 100])('is the JSON of %i items and what stands around them', async (count) => {
    const data = vectors.slice(0, count);
    expect(JSON.parse(await text(listStream(listOf(data))))).toEqual({ data, model: 'x' });
  });

  it('does not hold the event loop, which the same text made in one go does', async () => {
    const inOneGo = await longestGap(() => Promise.resolve(JSON.stringify(vectors)));
    expect(inOneGo).toBeGreaterThan(MAX_HELD_MS);
    let shortest = Infinity;
    for (let attempt = 0; attempt < MAX_TRIES && shortest >= MAX_HELD_MS; ++attempt) {
      const list = listOf(vectors);
      const gap = await longestGap(async () => {
        for await (const chunk of listStream(list)) expect(chunk).not.toBeNull();
      });
      shortest = Math.min(shortest, gap);
    }
    expect(shortest).toBeLessThan(MAX_HELD_MS);
  });
});
