import { setImmediate } from 'node:timers/promises';

/**
 * Work that can pause: a generator that yields every so often, some tens of microseconds apart. Written once, it runs in
 * one go for synchronous callers and in slices for asynchronous ones.
 */
export type Steps<T> = Generator<undefined, T, undefined>;

/** Time that a slice may take: well under the 5 ms for which the event loop may be held, as one step may overrun it. */
const SLICE_MS = 2;

let lastTurn: Promise<void> = Promise.resolve();

/** Resolves in a turn of the event loop that no other caller gets, so that concurrent work does not add up in one. */
function ownTurn(): Promise<void> {
  lastTurn = lastTurn.then(() => setImmediate());
  return lastTurn;
}

/** Does all the work now. */
export function runToEnd<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Does the work in slices of SLICE_MS, between which the event loop turns. */
export async function runInSlices<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    await ownTurn();
    const sliceEnd = performance.now() + SLICE_MS;
    do {
      const step = steps.next();
      if (step.done === true) return step.value;
    } while (performance.now() < sliceEnd);
  }
}
