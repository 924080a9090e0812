import { KeyTable } from './key-table.js';
import type { Steps } from './steps.js';
import { NO_NODE, NO_VALUE, ROOT, Trie } from './trie.js';
import { charFlag, codePointFlags } from './unicode.js';

/** A token that is looked for before the text is split into words. */
export interface AddedToken {
  id: number;
  content: string;
  /** only where no word character touches it */
  singleWord: boolean;
  /** takes the whitespace before it along */
  lstrip: boolean;
  /** takes the whitespace after it along */
  rstrip: boolean;
  /** looked for in the normalised text, in its own normalised form; otherwise in the text as given */
  normalized: boolean;
  special: boolean;
}

/** What a split that is no added token has in place of an id. */
export const NO_TOKEN = -1;

/** Up to this many different first units, one native search for each beats testing every unit. */
const MAX_SEARCHES = 2;

const TOKENS_PER_STEP = 256;

/** An added token with the text to look for. */
export interface SoughtToken {
  token: AddedToken;
  pattern: string;
}

/** Finds added tokens: leftmost first, the longest where several begin, as Hugging Face's matcher does. */
export class AddedTokenMatcher {
  private readonly firstUnits: string[];
  /** [65536] 1 for a unit that some pattern begins with */
  private readonly isFirstUnit = new Uint8Array(0x10000);
  /** whether a lone surrogate, which counts as U+FFFD, can be part of a token */
  private readonly matchesReplacement: boolean;

  private constructor(
    private readonly tokens: readonly SoughtToken[],
    /** index in `tokens` by pattern */
    private readonly trie: Trie,
  ) {
    this.firstUnits = [...new Set(tokens.map(({ pattern }) => pattern.charAt(0)))];
    for (const unit of this.firstUnits) this.isFirstUnit[unit.charCodeAt(0)] = 1;
    this.matchesReplacement = tokens.some(({ pattern }) => pattern.includes('\ufffd'));
  }

  /** @param tokens those to look for; the first of equal patterns wins */
  static *build(tokens: readonly SoughtToken[]): Steps<AddedTokenMatcher> {
    const patterns = new KeyTable();
    for (let index = tokens.length - 1; index >= 0; index--) {
      if (index % TOKENS_PER_STEP === 0) yield;
      patterns.add(tokens[index]!.pattern, index);
    }
    return new AddedTokenMatcher(tokens, yield* Trie.build(patterns));
  }

  get isEmpty(): boolean {
    return this.tokens.length === 0;
  }

  /**
   * Cuts a text into added tokens and what lies between: flattened triples [id or NO_TOKEN, begin, end). Undefined when
   * it holds no added token. A token that strips to the right may overlap the split after it, as in Hugging Face.
   */
  split(source: string): number[] | undefined {
    if (!this.mayMatch(source)) return undefined;
    const text = this.matchesReplacement ? source.replace(/\p{Surrogate}/gu, '\ufffd') : source;
    const splits: number[] = [];
    let splitEnd = 0;
    let whitespaceEnd = 0; // of the run of whitespace measured last, so that no run is measured twice
    for (let position = 0; position < text.length;) {
      const index =
        this.isFirstUnit[text.charCodeAt(position)] === 0 ? NO_VALUE : this.longestAt(text, position);
      if (index === NO_VALUE) {
        position++;
        continue;
      }
      const { token, pattern } = this.tokens[index]!;
      const matchEnd = position + pattern.length;
      if (!token.singleWord || standsAlone(text, position, matchEnd)) {
        let begin = position;
        if (token.lstrip) while (begin > splitEnd && isWhitespace(text.charCodeAt(begin - 1))) begin--;
        if (token.lstrip && begin < splitEnd) begin = splitEnd;
        let end = matchEnd;
        if (token.rstrip) {
          if (whitespaceEnd < end) whitespaceEnd = end;
          while (whitespaceEnd < text.length && isWhitespace(text.charCodeAt(whitespaceEnd))) whitespaceEnd++;
          end = whitespaceEnd;
        }
        // a token of whitespace may have been taken whole by the one before it
        if (begin < end) {
          if (splitEnd < begin) splits.push(NO_TOKEN, splitEnd, begin);
          splits.push(token.id, begin, end);
          splitEnd = end;
        }
      }
      position = matchEnd;
    }
    if (splits.length === 0) return undefined;
    if (splitEnd !== text.length) splits.push(NO_TOKEN, splitEnd, text.length);
    return splits;
  }

  private mayMatch(text: string): boolean {
    if (this.firstUnits.length > MAX_SEARCHES || this.matchesReplacement) return true;
    return this.firstUnits.some((unit) => text.includes(unit));
  }

  /** Index in `tokens` of the longest pattern that begins at a position, or NO_VALUE. */
  private longestAt(text: string, position: number): number {
    const { trie } = this;
    let longest = NO_VALUE;
    let node = ROOT;
    for (let at = position; at < text.length; at++) {
      node = trie.child(node, text.charCodeAt(at));
      if (node === NO_NODE) break;
      if (trie.values[node] !== NO_VALUE) longest = trie.values[node]!;
    }
    return longest;
  }
}

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const wordAfter = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

function standsAlone(text: string, begin: number, end: number): boolean {
  return (
    !wordBefore.test(text.slice(Math.max(begin - 2, 0), begin)) && !wordAfter.test(text.slice(end, end + 2))
  );
}

function isWhitespace(unit: number): boolean {
  return (codePointFlags()[unit]! & charFlag.whitespace) !== 0;
}
