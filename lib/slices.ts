/** Long loops in turns with everything else that waits for the event loop. */
import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from './errors.js';

/** Time that a loop may hold the event loop. */
const sliceMs = 2;

export class Slices {
  readonly #signal: AbortSignal | undefined;
  #begin = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether it is time to await next(); asked for every item, since awaiting each would cost more than most items. */
  get isOver(): boolean {
    return performance.now() - this.#begin > sliceMs;
  }

  /** Lets everything else run. @throws ELASTICLM_CALL_ABORTED */
  async next(): Promise<void> {
    throwIfAborted(this.#signal);
    await setImmediate();
    this.#begin = performance.now();
  }
}

/** `items.map(of)` in slices. @throws ELASTICLM_CALL_ABORTED */
export async function mapInSlices<Item, Result>(
  items: readonly Item[],
  of: (item: Item, idx: number) => Result,
  signal?: AbortSignal,
): Promise<Result[]> {
  const slices = new Slices(signal);
  const results: Result[] = [];
  for (const [idx, item] of items.entries()) {
    if (slices.isOver) await slices.next();
    results.push(of(item, idx));
  }
  return results;
}
