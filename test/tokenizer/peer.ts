import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as Peer } from 'tokenizers';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import type { EncodeOptions } from '../../lib/tokenizer/index.js';
import type { Encoding } from '../../lib/types.js';
import { defaultModelDirectory } from '../support/default-model.js';

/** The default model's tokenizer.json, parsed, without the truncation and padding saved in it. */
export function defaultTokenizerJson(): Record<string, unknown> {
  const json = JSON.parse(readFileSync(join(defaultModelDirectory(), 'tokenizer.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  return { ...json, truncation: null, padding: null };
}

/** One text, or two as a pair. */
export type Input = string | [string, string];

/** The same tokenizer twice: ours, and Hugging Face's. */
export class Differential {
  readonly ours: Tokenizer;
  readonly peer: Peer;

  constructor(json: unknown, ours: Tokenizer = Tokenizer.fromJson(json, 'tokenizer.json')) {
    this.ours = ours;
    this.peer = Peer.fromString(JSON.stringify(json));
  }

  /**
   * Encodes every input with both, ids, token types and offsets, and describes the first differences; none is right.
   * The peer truncates where options.maxLength says so.
   */
  async differences(inputs: readonly Input[], options: EncodeOptions = {}): Promise<string[]> {
    if (options.maxLength === undefined) this.peer.disableTruncation();
    else this.peer.setTruncation(options.maxLength);
    const { addSpecialTokens = true } = options;
    const found: string[] = [];
    const batchSize = 512;
    for (let begin = 0; begin < inputs.length; begin += batchSize) {
      const batch = inputs.slice(begin, begin + batchSize);
      const expected = await Promise.all(
        batch.map((input) => {
          const [text, pair] = typeof input === 'string' ? [input, null] : input;
          return this.peer.encode(text, pair, { addSpecialTokens });
        }),
      );
      batch.forEach((input, index) => {
        const encoding = this.encode(input, { ...options, offsets: true });
        const plain = this.encode(input, options);
        const theirs = expected[index]!;
        const offsets = unitOffsets(input, theirs.getOffsets(), theirs.getSequenceIds());
        const checks: [string, ArrayLike<number>, ArrayLike<number>][] = [
          ['ids', encoding.inputIds, theirs.getIds()],
          ['ids without offsets', plain.inputIds, theirs.getIds()],
          ['token types', encoding.tokenTypeIds, theirs.getTypeIds()],
          ['offsets', encoding.offsets!, offsets],
        ];
        for (const [name, actual, wanted] of checks) {
          if (found.length < 5 && !sameNumbers(actual, wanted)) {
            found.push(
              `${name} of ${escaped(JSON.stringify(input))}: ${Array.from(actual).join(' ')} instead of ${Array.from(wanted).join(' ')}`,
            );
          }
        }
      });
    }
    return found;
  }

  private encode(input: Input, options: EncodeOptions): Encoding {
    return typeof input === 'string'
      ? this.ours.encode(input, options)
      : this.ours.encodePair(input[0], input[1], options);
  }
}

/** The peer counts code points; JavaScript counts UTF-16 units. */
function unitOffsets(
  input: Input,
  offsets: readonly number[][],
  sequences: readonly (number | null | undefined)[],
): number[] {
  const units = (typeof input === 'string' ? [input] : input).map((text) => {
    const starts = [0];
    for (const char of text) starts.push(starts.at(-1)! + char.length);
    return starts;
  });
  return offsets.flatMap((pair, index) => {
    const sequence = sequences[index];
    return sequence === null || sequence === undefined ? pair : pair.map((at) => units[sequence]![at]!);
  });
}

function sameNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

function escaped(text: string): string {
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
