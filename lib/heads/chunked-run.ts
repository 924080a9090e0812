/**
 * Any number of texts through one model: tokenised a little at a time so that the event loop stays free, computed in
 * chunks of bounded size, the next chunk tokenised while the present one computes.
 */
import { setImmediate } from 'node:timers/promises';
import { packBatch } from '../batch/index.js';
import { throwIfAborted } from '../errors.js';
import type { ForwardResult } from '../model/index.js';
import type { Encoding, PackedBatch } from '../types.js';

/**
 * Tokens of one forward: 64 blocks of 128 tokens, so that an uneven end costs each thread under 2%, while a short request
 * of somebody else waits a fraction of a second at most.
 */
const chunkTokens = 8192;
/** Time that tokenising may hold the event loop before others get their turn; one text adds well under a millisecond. */
const tokenizeSliceMs = 2;

export interface ChunkedRun {
  /** number of items */
  count: number;
  /** floats of one item's result */
  dims: number;
  tokenize: (item: number) => Encoding;
  /** Runs the batch of `items`, whose sequences are in their order. */
  forward: (batch: PackedBatch, items: readonly number[]) => Promise<ForwardResult>;
  signal?: AbortSignal | undefined;
}

export interface RunResult {
  /** [count, dims] in the items' order */
  data: Float32Array;
  dims: number;
  /** [count] the level that each item ran at */
  levels: number[];
  /** tokens computed, special tokens included */
  totalTokens: number;
}

interface Chunk {
  items: number[];
  encodings: Encoding[];
  totalTokens: number;
}

export async function runInChunks(run: ChunkedRun): Promise<RunResult> {
  const { count, dims } = run;
  const result: RunResult = {
    data: new Float32Array(count * dims),
    dims,
    levels: new Array<number>(count),
    totalTokens: 0,
  };
  let computing: Promise<void> = Promise.resolve();
  for (let begin = 0; begin < count;) {
    const chunk = await tokenizeChunk(run, begin);
    begin += chunk.items.length;
    await computing;
    computing = computeChunk(run, longestFirst(chunk), result);
    // Awaited above or below; without this a failure while the next chunk is tokenised would count as unhandled.
    computing.catch(() => undefined);
  }
  await computing;
  return result;
}

async function tokenizeChunk(run: ChunkedRun, begin: number): Promise<Chunk> {
  const chunk: Chunk = { items: [], encodings: [], totalTokens: 0 };
  let sliceStart = performance.now();
  for (let item = begin; item < run.count && chunk.totalTokens < chunkTokens; ++item) {
    if (performance.now() - sliceStart > tokenizeSliceMs) {
      await setImmediate();
      sliceStart = performance.now();
    }
    throwIfAborted(run.signal);
    const encoding = run.tokenize(item);
    chunk.items.push(item);
    chunk.encodings.push(encoding);
    chunk.totalTokens += encoding.inputIds.length;
  }
  return chunk;
}

/** Threads claim sequences in their order: with the longest first, none is left with much to do at the end. */
function longestFirst({ items, encodings, totalTokens }: Chunk): Chunk {
  const length = (idx: number): number => encodings[idx]!.inputIds.length;
  const order = items.map((_, idx) => idx).sort((a, b) => length(b) - length(a));
  return {
    items: order.map((idx) => items[idx]!),
    encodings: order.map((idx) => encodings[idx]!),
    totalTokens,
  };
}

async function computeChunk(run: ChunkedRun, chunk: Chunk, result: RunResult): Promise<void> {
  const { dims } = run;
  const { data, levels } = await run.forward(packBatch(chunk.encodings), chunk.items);
  for (const [row, item] of chunk.items.entries()) {
    result.data.set(data.subarray(row * dims, (row + 1) * dims), item * dims);
    result.levels[item] = levels[row]!;
  }
  result.totalTokens += chunk.totalTokens;
}
