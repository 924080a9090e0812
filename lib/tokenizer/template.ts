import { ElasticError } from '../errors.js';
import type { Encoding } from '../types.js';
import type { TokenBuffer } from './token-buffer.js';

/** One piece of what surrounds and joins the texts. */
export type TemplatePiece =
  | { kind: 'special'; ids: readonly number[]; typeId: number }
  | { kind: 'text'; which: 'first' | 'second'; typeId: number };

/** How one text, or two, become a sequence. */
export type Template = readonly TemplatePiece[];

export type Truncation = 'longest_first' | 'only_first' | 'only_second' | 'do_not_truncate';

/** Number of tokens that a template adds to those of the texts. */
export function numSpecialTokens(template: Template): number {
  return template.reduce((sum, piece) => sum + (piece.kind === 'special' ? piece.ids.length : 0), 0);
}

/**
 * Cuts the texts' tokens at their ends so that together they are at most `budget`, by Hugging Face's rules.
 * `longest_first` keeps the shorter text whole where half of the budget holds it; else each gets half, and the longer
 * one, the second of equals, the odd token.
 *
 * @throws ELASTICLM_TEXT_TOO_LONG when the strategy cannot reach the budget
 */
export function truncate(
  first: TokenBuffer,
  second: TokenBuffer | undefined,
  budget: number,
  strategy: Truncation,
): void {
  const excess = first.length + (second?.length ?? 0) - budget;
  if (excess <= 0) return;
  if (strategy === 'do_not_truncate') throw tooLong(budget, strategy);
  if (budget === 0) {
    first.length = 0;
    if (second !== undefined) second.length = 0;
  } else if (strategy === 'longest_first') {
    truncateLongest(first, second, budget);
  } else {
    const target = strategy === 'only_first' ? first : second;
    if (target === undefined || target.length <= excess) throw tooLong(budget, strategy);
    target.length -= excess;
  }
}

function truncateLongest(first: TokenBuffer, second: TokenBuffer | undefined, budget: number): void {
  if (second === undefined) {
    first.length = budget;
    return;
  }
  const [shorter, longer] = first.length > second.length ? [second, first] : [first, second];
  shorter.length = Math.min(shorter.length, Math.floor(budget / 2));
  longer.length = budget - shorter.length;
}

function tooLong(budget: number, strategy: Truncation): ElasticError {
  return ElasticError.of('ELASTICLM_TEXT_TOO_LONG', {
    expected: `at most ${budget} tokens besides the special ones`,
    subject: `the text under truncation '${strategy}'`,
    received: 'more',
    remedy: "Shorten the text, raise maxLength, or truncate by 'longest_first'",
  });
}

/** Lays the texts' tokens out as the template says, with or without its special tokens. */
export function assemble(
  template: Template,
  texts: { first: TokenBuffer; second: TokenBuffer | undefined },
  addSpecialTokens: boolean,
): Encoding {
  const textOf = (piece: TemplatePiece & { kind: 'text' }): TokenBuffer | undefined =>
    piece.which === 'first' ? texts.first : texts.second;
  let total = texts.first.length + (texts.second?.length ?? 0);
  if (addSpecialTokens) total += numSpecialTokens(template);
  const inputIds = new Int32Array(total);
  const tokenTypeIds = new Int32Array(total);
  const offsets = texts.first.located ? new Int32Array(2 * total) : undefined;
  let position = 0;
  for (const piece of template) {
    const begin = position;
    if (piece.kind === 'text') {
      const text = textOf(piece);
      if (text === undefined) continue;
      const { ids } = text;
      const { length } = text;
      for (let index = 0; index < length; index++) inputIds[position++] = ids[index]!;
      offsets?.set(text.offsets.subarray(0, 2 * length), 2 * begin);
    } else if (addSpecialTokens) {
      for (const id of piece.ids) inputIds[position++] = id;
    }
    if (piece.typeId !== 0) tokenTypeIds.fill(piece.typeId, begin, position);
  }
  return offsets === undefined ? { inputIds, tokenTypeIds } : { inputIds, tokenTypeIds, offsets };
}
