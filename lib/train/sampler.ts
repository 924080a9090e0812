/** Which examples make up each micro-batch. */
import { setImmediate } from 'node:timers/promises';
import { ElasticError } from '../errors.js';
import { mixBits, randomOrder, shuffle } from './random.js';
import type { DataPosition } from './types.js';

export interface SamplerOptions {
  /** number of examples */
  size: number;
  /** tokens of the example at a position */
  length: (position: number) => number;
  seed: number;
  tokensPerMicroBatch: number;
}

export interface MicroBatch {
  /** of the examples */
  positions: number[];
  /** differs at every micro-batch of the run */
  seed: number;
  /** where the next one begins */
  next: DataPosition;
}

/**
 * Examples whose lengths are compared at a time. Enough for micro-batches of nearly one length, and planned in 0.8 ms (2-core
 * Zen 4, 2026-11-24): the event loop should wait for no more than 5.
 */
const windowSize = 2048;

/** What tells the uses of one seed apart. */
const use = { order: 1, window: 2, batch: 3, examples: 4 };

/**
 * Shuffles each epoch, and within windows of the shuffled order groups examples of similar length, since micro-batches are
 * filled by tokens: each window is cut into micro-batches of about as many tokens, at most `tokensPerMicroBatch` (a longer
 * example is one of its own), which come in random order, as do the examples in each. A pure function of the options and the position.
 */
export class Sampler {
  readonly #options: SamplerOptions;
  readonly #numWindows: number;
  /** the window asked for last */
  #planned: { epoch: number; window: number; microBatches: number[][] } | undefined;

  constructor(options: SamplerOptions) {
    this.#options = options;
    this.#numWindows = Math.max(1, Math.round(options.size / windowSize));
  }

  /** @throws ELASTICLM_CHECKPOINT_INVALID for a position where no micro-batch begins */
  microBatchAt({ epoch, cursor }: DataPosition): MicroBatch {
    const { size, seed } = this.#options;
    const window = this.#windowAt(cursor);
    let begin = this.#windowBegin(window);
    for (const positions of this.#plan(epoch, window)) {
      if (begin === cursor) {
        const end = cursor + positions.length;
        const next = end === size ? { epoch: epoch + 1, cursor: 0 } : { epoch, cursor: end };
        return { positions, seed: mixBits(seed, use.batch, epoch, cursor), next };
      }
      begin += positions.length;
    }
    throw ElasticError.of('ELASTICLM_CHECKPOINT_INVALID', {
      expected: `the beginning of a micro-batch of ${size} examples`,
      subject: 'the position in the data',
      received: `example ${cursor} of epoch ${epoch}`,
      remedy: 'Does the state belong to this data?',
    });
  }

  /** Micro-batches of one epoch; planned a window at a time, with turns of the event loop in between. */
  async countMicroBatches(epoch: number): Promise<number> {
    let count = 0;
    for (let window = 0; window < this.#numWindows; ++window) {
      if (window > 0) await setImmediate();
      count += this.#plan(epoch, window).length;
    }
    return count;
  }

  #windowBegin(window: number): number {
    return Math.floor((window * this.#options.size) / this.#numWindows);
  }

  #windowAt(cursor: number): number {
    let window = Math.min(this.#numWindows - 1, Math.floor((cursor * this.#numWindows) / this.#options.size));
    while (window + 1 < this.#numWindows && this.#windowBegin(window + 1) <= cursor) ++window;
    return window;
  }

  #plan(epoch: number, window: number): number[][] {
    if (this.#planned?.epoch === epoch && this.#planned.window === window) return this.#planned.microBatches;
    const { size, length, seed, tokensPerMicroBatch } = this.#options;
    const order = randomOrder(size, mixBits(seed, use.order, epoch));
    const examples: Example[] = [];
    for (let place = this.#windowBegin(window); place < this.#windowBegin(window + 1); ++place) {
      const position = order(place);
      examples.push({ position, length: length(position) });
    }
    examples.sort((a, b) => a.length - b.length); // stable: equal lengths stay in shuffled order
    const microBatches = shuffle(
      fill(examples, tokensPerMicroBatch),
      mixBits(seed, use.window, epoch, window),
    ).map((run, idx) => shuffle(run, mixBits(seed, use.examples, epoch, window, idx)));
    this.#planned = { epoch, window, microBatches };
    return microBatches;
  }
}

interface Example {
  position: number;
  length: number;
}

/** Runs of at most `limit` tokens and of nearly equal ones, so that none is left with a single short example. */
function fill(examples: readonly Example[], limit: number): number[][] {
  const total = examples.reduce((sum, { length }) => sum + length, 0);
  for (let count = Math.max(1, Math.ceil(total / limit)); ; ++count) {
    const runs = cut(examples, limit, total / count);
    // Lengths that do not add up may need one run more than the tokens alone.
    if (runs.length <= count) return runs;
  }
}

function cut(examples: readonly Example[], limit: number, share: number): number[][] {
  const runs: number[][] = [];
  let done = 0;
  let tokens = 0;
  for (const { position, length } of examples) {
    const isFull = tokens + length > limit || done >= runs.length * share;
    if (runs.length === 0 || isFull) {
      runs.push([]);
      tokens = 0;
    }
    runs.at(-1)!.push(position);
    tokens += length;
    done += length;
  }
  return runs;
}
