import type { NormalizedText } from './normalizer.js';
import type { TokenBuffer } from './token-buffer.js';
import { NO_NODE, NO_VALUE, ROOT } from './trie.js';
import type { Trie } from './trie.js';
import { charFlag, codePointFlags, joinSurrogates } from './unicode.js';
import { WordCache } from './word-cache.js';

/** The WordPiece model as a checkpoint gives it. */
export interface WordPieceOptions {
  /** ids by token */
  vocab: Trie;
  unkId: number;
  /** what a token that continues a word begins with, usually `##` */
  continuingPrefix: string;
  /** words of more code points become the unknown token */
  maxCharsPerWord: number;
}

/** What BERT's pre-tokeniser makes of a UTF-16 unit of normalised text. */
const unitClass = { word: 0, space: 1, punctuation: 2, surrogate: 3 } as const;

/** FNV-1a's offset and prime, applied to whole units. */
const HASH_SEED = 0x811c9dc5 | 0;
const HASH_PRIME = 0x01000193;

let sharedClasses: Uint8Array | undefined;

/** BERT's pre-tokeniser and the WordPiece model, from normalised units to token ids. */
export class WordPiece {
  private readonly trie: Trie;
  /** where the walk for a continuing token begins; NO_NODE when the vocabulary has none */
  private readonly continuation: number;
  private readonly cache = new WordCache();
  private readonly classes = unitClasses();
  private readonly flags = codePointFlags();

  constructor(private readonly options: WordPieceOptions) {
    this.trie = options.vocab;
    this.continuation = this.trie.find(options.continuingPrefix);
  }

  /**
   * Splits units [begin, end) at whitespace and around punctuation and appends each word's tokens, with their places
   * in the source when `out` is located. Stops after a word that leaves `out` with `limit` tokens or more, and tells
   * whether it did.
   */
  encode(text: NormalizedText, begin: number, end: number, out: TokenBuffer, limit: number): boolean {
    const { units } = text;
    const { classes } = this;
    let position = begin;
    while (position < end) {
      const wordBegin = position;
      let hash = HASH_SEED;
      while (position < end) {
        const unit = units[position]!;
        const unitKind = classes[unit];
        if (unitKind !== unitClass.word) {
          if (unitKind !== unitClass.surrogate || this.isPunctuationPair(units, position)) break;
          hash = Math.imul(hash ^ unit, HASH_PRIME);
          position++;
        }
        hash = Math.imul(hash ^ units[position]!, HASH_PRIME);
        position++;
      }
      if (position > wordBegin) {
        this.encodeWord(text, wordBegin, position, hash, out);
      } else if (classes[units[position]!] === unitClass.space) {
        position++;
        continue;
      } else {
        position += classes[units[position]!] === unitClass.surrogate ? 2 : 1;
        this.encodeWord(text, wordBegin, position, HASH_SEED ^ units[wordBegin]!, out);
      }
      if (out.length >= limit) return true;
    }
    return false;
  }

  private encodeWord(text: NormalizedText, begin: number, end: number, hash: number, out: TokenBuffer): void {
    if (out.located) {
      this.splitWord(text, begin, end, out);
    } else if (!this.cache.lookUp(text.units, begin, end, hash, out)) {
      const firstToken = out.length;
      this.splitWord(text, begin, end, out);
      this.cache.keep(text.units, begin, end, hash, out, firstToken);
    }
  }

  /** Greedy longest match first; a word with any part that matches nothing is one unknown token. */
  private splitWord(text: NormalizedText, begin: number, end: number, out: TokenBuffer): void {
    const { units } = text;
    const { trie } = this;
    const { values } = trie;
    const { maxCharsPerWord, unkId } = this.options;
    const firstToken = out.length;
    let position = begin;
    if (end - begin <= maxCharsPerWord || countCodePoints(units, begin, end) <= maxCharsPerWord) {
      while (position < end) {
        let node = position === begin ? ROOT : this.continuation;
        let id = NO_VALUE;
        let matchEnd = position;
        for (let index = position; index < end && node !== NO_NODE;) {
          node = trie.child(node, units[index++]!);
          if (node !== NO_NODE && values[node] !== NO_VALUE) {
            id = values[node]!;
            matchEnd = index;
          }
        }
        if (id === NO_VALUE) break;
        append(text, position, matchEnd, id, out);
        position = matchEnd;
      }
    }
    if (position < end) {
      out.length = firstToken;
      append(text, begin, end, unkId, out);
    }
  }

  private isPunctuationPair(units: Uint16Array, position: number): boolean {
    return (this.flags[joinSurrogates(units[position]!, units[position + 1]!)]! & charFlag.punctuation) !== 0;
  }
}

function append(text: NormalizedText, begin: number, end: number, id: number, out: TokenBuffer): void {
  if (out.located) out.pushLocated(id, text.begins[begin]!, text.ends[end - 1]!);
  else out.push(id);
}

/** Normalised text holds no lone surrogate, so each low one is the second half of a pair. */
function countCodePoints(units: Uint16Array, begin: number, end: number): number {
  let count = 0;
  for (let index = begin; index < end; index++) if ((units[index]! & 0xfc00) !== 0xdc00) count++;
  return count;
}

/** [65536] of `unitClass`; every whitespace code point is in the BMP. */
function unitClasses(): Uint8Array {
  if (sharedClasses !== undefined) return sharedClasses;
  const flags = codePointFlags();
  const classes = new Uint8Array(0x10000);
  for (let unit = 0; unit < classes.length; unit++) {
    if (unit >= 0xd800 && unit < 0xe000) classes[unit] = unitClass.surrogate;
    else if (flags[unit]! & charFlag.whitespace) classes[unit] = unitClass.space;
    else if (flags[unit]! & charFlag.punctuation) classes[unit] = unitClass.punctuation;
  }
  sharedClasses = classes;
  return classes;
}
