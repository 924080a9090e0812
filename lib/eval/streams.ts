/** Streams of documents and examples. */
import { ElasticError, throwIfAborted } from '../errors.js';

/** The items, so many at a time; the last part may be shorter. */
export async function* inParts<Item>(items: AsyncIterable<Item>, size: number): AsyncGenerator<Item[]> {
  let part: Item[] = [];
  for await (const item of items) {
    part.push(item);
    if (part.length < size) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}

/**
 * A pass over a stream before the long ones: for progress, and so that a wrong line fails now and not after an hour.
 * @throws what the stream throws, ELASTICLM_CALL_ABORTED
 */
export async function countItems(items: AsyncIterable<unknown>, signal?: AbortSignal): Promise<number> {
  const iterator = items[Symbol.asyncIterator]();
  let count = 0;
  while ((await iterator.next()).done !== true) {
    throwIfAborted(signal);
    count += 1;
  }
  return count;
}

/** @throws ELASTICLM_DATA_INVALID when there is none of what a task cannot do without */
export function checkSome(count: number, what: string, data: string): void {
  if (count > 0) return;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: `at least one ${what}`,
    subject: data,
    received: 'none',
  });
}
