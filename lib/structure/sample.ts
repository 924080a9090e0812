/** A fixed-size sample of a stream of texts, the same for the same seed. */
import { describeValue, ElasticError, throwIfAborted } from '../errors.js';

export interface SampleOptions {
  size: number;
  seed: number;
  signal?: AbortSignal | undefined;
}

/**
 * `size` texts of the stream, each with the same chance (reservoir sampling), in the stream's order; all of a shorter one.
 * Texts of white space alone are passed over.
 * @throws ELASTICLM_ARGUMENT_INVALID naming the position of something that is not a string
 */
export async function sampleTexts(
  texts: Iterable<string> | AsyncIterable<string>,
  { size, seed, signal }: SampleOptions,
): Promise<string[]> {
  const random = seededRandom(seed);
  const kept: { position: number; text: string }[] = [];
  let position = 0;
  let seen = 0;
  for await (const text of texts) {
    throwIfAborted(signal);
    checkText(text, position);
    position += 1;
    if (text.trim() === '') continue;
    seen += 1;
    const slot = seen <= size ? seen - 1 : Math.floor(random() * seen);
    if (slot < size) kept[slot] = { position, text };
  }
  return kept.sort((a, b) => a.position - b.position).map(({ text }) => text);
}

function checkText(text: unknown, position: number): void {
  if (typeof text === 'string') return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: 'a string',
    subject: `text ${position}`,
    received: describeValue(text),
  });
}

/** Uniform numbers in [0, 1) from 32 bits of state (mulberry32): plenty for choosing texts, alike on every machine. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
