import { describeValue, ElasticError } from '../errors.js';
import type { Encoding } from '../types.js';
import { AddedTokenMatcher, NO_TOKEN } from './added-tokens.js';
import type { AddedToken, SoughtToken } from './added-tokens.js';
import { readCheckpoint } from './checkpoint.js';
import { defaultRoleTokens, specialRoles } from './definition.js';
import type { SpecialIds, TokenizerDefinition } from './definition.js';
import { NormalizedText, Normalizer } from './normalizer.js';
import { JsonReader } from './reader.js';
import { runInSlices, runToEnd } from './steps.js';
import type { Steps } from './steps.js';
import { assemble, numSpecialTokens, truncate } from './template.js';
import type { Template, Truncation } from './template.js';
import { TokenBuffer } from './token-buffer.js';
import { readTokenizerJson } from './tokenizer-json.js';
import { readVocabTxt } from './vocab-txt.js';
import { WordPiece } from './word-piece.js';

export interface EncodeOptions {
  /** tokens that the whole sequence may have, special ones included; no bound by default */
  maxLength?: number;
  /** what gives way to `maxLength`; 'longest_first' by default */
  truncation?: Truncation;
  /** whether to add [CLS] and [SEP], or what else the checkpoint's template has; true by default */
  addSpecialTokens?: boolean;
  /** whether to give each token's place in its text; false by default */
  offsets?: boolean;
}

/** Parsed JSON files that may stand beside a `vocab.txt`. */
export interface VocabFiles {
  /** tokenizer_config.json */
  tokenizerConfig?: unknown;
  /** special_tokens_map.json */
  specialTokensMap?: unknown;
  /** added_tokens.json */
  addedTokens?: unknown;
}

/** What takes long to build, and so is built before the tokenizer. */
interface TokenizerParts {
  definition: TokenizerDefinition;
  addedIds: ReadonlyMap<string, number>;
  vocabSize: number;
  normalizer: Normalizer;
  rawMatcher: AddedTokenMatcher;
  normalizedMatcher: AddedTokenMatcher;
}

/** Buffers that outgrew this many entries are let go after use, so that one huge text leaves nothing behind. */
const MAX_KEPT_ENTRIES = 1 << 20;

const truncations: readonly string[] = [
  'longest_first',
  'only_first',
  'only_second',
  'do_not_truncate',
] satisfies Truncation[];

/**
 * A BERT tokenizer: the ids of Hugging Face `tokenizers` for the same checkpoint and text. Lone surrogates count as
 * U+FFFD. Time is linear in the text; with `maxLength`, reading stops where no later character can matter.
 */
export class Tokenizer {
  /** tokens of the model together with added ones that the model does not have */
  readonly vocabSize: number;
  readonly unkId: number;
  /** undefined where the vocabulary has no token of that role; likewise below */
  readonly padId: number | undefined;
  readonly clsId: number | undefined;
  readonly sepId: number | undefined;
  readonly maskId: number | undefined;
  /** the longest sequence that the checkpoint's tokenizer_config.json allows, where it says so */
  readonly modelMaxLength: number | undefined;

  private readonly definition: TokenizerDefinition;
  private readonly addedIds: ReadonlyMap<string, number>;
  private readonly normalizer: Normalizer;
  private readonly wordPiece: WordPiece;
  private readonly rawMatcher: AddedTokenMatcher;
  private readonly normalizedMatcher: AddedTokenMatcher;
  private normalized = new NormalizedText();
  private first = new TokenBuffer();
  private second = new TokenBuffer();

  private constructor(parts: TokenizerParts, subject: string) {
    const { definition, addedIds } = parts;
    this.definition = definition;
    this.addedIds = addedIds;
    this.vocabSize = parts.vocabSize;
    const special = this.specialIds(subject);
    this.unkId = special.unk;
    this.padId = special.pad;
    this.clsId = special.cls;
    this.sepId = special.sep;
    this.maskId = special.mask;
    this.modelMaxLength = definition.modelMaxLength;
    this.normalizer = parts.normalizer;
    this.wordPiece = new WordPiece({ ...definition, unkId: special.unk });
    this.rawMatcher = parts.rawMatcher;
    this.normalizedMatcher = parts.normalizedMatcher;
  }

  private static *build(definition: TokenizerDefinition, subject: string): Steps<Tokenizer> {
    const addedIds = yield* checkAddedTokens(definition, subject);
    let vocabSize = definition.vocab.size;
    for (const token of addedIds.keys()) {
      yield;
      if (!definition.vocab.has(token)) vocabSize++;
    }
    const normalizer = yield* Normalizer.build(definition.normalizer);
    const raw: SoughtToken[] = [];
    const normalized: SoughtToken[] = [];
    // special tokens come first: of two that look the same once normalised the first wins (in Hugging Face, either)
    for (const special of [true, false]) {
      for (const token of definition.addedTokens) {
        if (token.special !== special) continue;
        yield;
        if (!token.normalized) raw.push({ token, pattern: token.content });
        else {
          const pattern = normalizer.normalize(token.content);
          if (pattern !== '') normalized.push({ token, pattern });
        }
      }
    }
    const rawMatcher = yield* AddedTokenMatcher.build(raw);
    const normalizedMatcher = yield* AddedTokenMatcher.build(normalized);
    const parts = { definition, addedIds, vocabSize, normalizer, rawMatcher, normalizedMatcher };
    return new Tokenizer(parts, subject);
  }

  /**
   * Reads `tokenizer.json` from a checkpoint's folder, or else `vocab.txt`, with the JSON files beside them. Holds the event
   * loop for about 2 ms at a time.
   *
   * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_TOKENIZER_INVALID,
   * ELASTICLM_TOKENIZER_UNSUPPORTED
   */
  static async load(directory: string): Promise<Tokenizer> {
    const { definition, subject } = await readCheckpoint(directory);
    return runInSlices(Tokenizer.build(definition, subject));
  }

  /**
   * Holds the event loop, tens of milliseconds for a large vocabulary; `load` does not.
   *
   * @param json a parsed `tokenizer.json`
   * @param subject names the file in errors
   * @throws ELASTICLM_TOKENIZER_INVALID, ELASTICLM_TOKENIZER_UNSUPPORTED
   */
  static fromJson(json: unknown, subject: string): Tokenizer {
    const definition = runToEnd(readTokenizerJson(JsonReader.of(json, subject)));
    return runToEnd(Tokenizer.build(definition, subject));
  }

  /**
   * Holds the event loop, as `fromJson` does.
   *
   * @param lines the lines of a `vocab.txt`, the token of id 0 first
   * @param files the parsed JSON files beside it
   * @param subject names the vocabulary in errors
   * @throws ELASTICLM_TOKENIZER_INVALID
   */
  static fromVocab(lines: readonly string[], files: VocabFiles = {}, subject = 'vocab.txt'): Tokenizer {
    const readers = {
      tokenizerConfig: JsonReader.of(files.tokenizerConfig, 'tokenizer_config.json'),
      specialTokensMap: JsonReader.of(files.specialTokensMap, 'special_tokens_map.json'),
      addedTokens: JsonReader.of(files.addedTokens, 'added_tokens.json'),
    };
    const definition = runToEnd(readVocabTxt(lines, readers, subject));
    return runToEnd(Tokenizer.build(definition, subject));
  }

  /**
   * One text as ids.
   *
   * @throws ELASTICLM_TEXT_TOO_LONG when truncation cannot bring it to `maxLength`, ELASTICLM_ARGUMENT_INVALID
   */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    return this.encodeTexts(this.definition.single, text, undefined, options);
  }

  /** Two texts as one sequence, the second usually of token type 1. Errors as `encode`. */
  encodePair(text: string, pair: string, options: EncodeOptions = {}): Encoding {
    return this.encodeTexts(this.definition.pair, text, pair, options);
  }

  tokenToId(token: string): number | undefined {
    return this.addedIds.get(token) ?? this.definition.vocab.get(token);
  }

  idToToken(id: number): string | undefined {
    for (const [token, tokenId] of this.addedIds) if (tokenId === id) return token;
    return this.definition.vocab.keyOf(id);
  }

  private encodeTexts(
    template: Template,
    text: string,
    pair: string | undefined,
    options: EncodeOptions,
  ): Encoding {
    const { maxLength = Infinity, truncation = 'longest_first', addSpecialTokens = true } = options;
    checkArguments(text, pair, options);
    const numSpecial = addSpecialTokens ? numSpecialTokens(template) : 0;
    if (maxLength < numSpecial) {
      throw wrongArgument(`at least ${numSpecial}`, 'options.maxLength', maxLength);
    }
    // Which of two long texts gets the odd token hangs on how far each is read, so the limit is Hugging Face's own. To
    // tell only whether a text fits takes one token more.
    const limit = truncation === 'do_not_truncate' ? maxLength + 1 : maxLength;
    this.encodeText(text, this.first, limit, options.offsets ?? false);
    const second = pair === undefined ? undefined : this.second;
    if (second !== undefined) this.encodeText(pair!, second, limit, options.offsets ?? false);
    truncate(this.first, second, maxLength - numSpecial, truncation);
    const encoding = assemble(template, { first: this.first, second }, addSpecialTokens);
    this.letGoOfLargeBuffers();
    return encoding;
  }

  /**
   * Fills `out`. As Hugging Face does, stops after the first word that leaves it with `limit` tokens or more; an added
   * token counts, but reading never stops at one.
   */
  private encodeText(text: string, out: TokenBuffer, limit: number, located: boolean): void {
    out.clear(located);
    const splits = this.rawMatcher.isEmpty ? undefined : this.rawMatcher.split(text);
    if (splits === undefined) {
      this.encodePlain(text, 0, text.length, out, limit);
      return;
    }
    for (let index = 0; index < splits.length; index += 3) {
      const id = splits[index]!;
      const begin = splits[index + 1]!;
      const end = splits[index + 2]!;
      if (id !== NO_TOKEN) pushAdded(id, begin, end, out);
      else if (this.encodePlain(text, begin, end, out, limit)) return;
    }
  }

  /** Text [begin, end), which holds no added token that is matched before normalising. True when `limit` is reached. */
  private encodePlain(text: string, begin: number, end: number, out: TokenBuffer, limit: number): boolean {
    const { normalized, wordPiece } = this;
    const inPieces = this.normalizedMatcher.isEmpty;
    normalized.clear(out.located);
    for (let position = begin; position < end;) {
      position = this.normalizer.append(text, position, end, normalized);
      if (inPieces) {
        if (wordPiece.encode(normalized, 0, normalized.length, out, limit)) return true;
        normalized.length = 0;
      }
    }
    return inPieces ? false : this.encodeNormalized(out, limit);
  }

  /** The whole of `normalized`, with the added tokens that are matched in it. True when `limit` is reached. */
  private encodeNormalized(out: TokenBuffer, limit: number): boolean {
    const { normalized } = this;
    const splits = this.normalizedMatcher.split(normalized.toString()) ?? [NO_TOKEN, 0, normalized.length];
    for (let index = 0; index < splits.length; index += 3) {
      const id = splits[index]!;
      const begin = splits[index + 1]!;
      const end = splits[index + 2]!;
      if (id !== NO_TOKEN) pushAdded(id, normalized.begins[begin]!, normalized.ends[end - 1]!, out);
      else if (this.wordPiece.encode(normalized, begin, end, out, limit)) return true;
    }
    return false;
  }

  private letGoOfLargeBuffers(): void {
    if (this.normalized.units.length > MAX_KEPT_ENTRIES) this.normalized = new NormalizedText();
    if (this.first.ids.length > MAX_KEPT_ENTRIES) this.first = new TokenBuffer();
    if (this.second.ids.length > MAX_KEPT_ENTRIES) this.second = new TokenBuffer();
  }

  private specialIds(subject: string): SpecialIds {
    const { unkToken, roles, vocab } = this.definition;
    const unk = vocab.get(unkToken);
    if (unk === undefined) {
      throw ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
        expected: `the unknown token ${describeValue(unkToken)} in the vocabulary`,
        subject,
        received: `${vocab.size} other tokens`,
      });
    }
    const ids: SpecialIds = { unk };
    for (const role of specialRoles) {
      const id = role === 'unk' ? unk : this.tokenToId(roles[role] ?? defaultRoleTokens[role]);
      if (id !== undefined) ids[role] = id;
    }
    return ids;
  }
}

/**
 * Ids by added token. Each must be the id that Hugging Face would give it, which is what any file saved by it holds: the
 * model's own where the model has the token, else the next free one.
 */
function* checkAddedTokens(definition: TokenizerDefinition, subject: string): Steps<Map<string, number>> {
  const { vocab, addedTokens } = definition;
  const ids = new Map<string, number>();
  let last = -1;
  for (const token of addedTokens) {
    yield;
    if (token.content === '') continue;
    const expected = vocab.get(token.content) ?? (last >= vocab.size ? last + 1 : vocab.size);
    if (ids.has(token.content)) throw wrongToken(subject, token, 'each added token once', 'a second one');
    if (token.id !== expected) throw wrongToken(subject, token, `id ${expected}`, `id ${token.id}`);
    ids.set(token.content, expected);
    last = Math.max(last, expected);
  }
  return ids;
}

function pushAdded(id: number, begin: number, end: number, out: TokenBuffer): void {
  if (out.located) out.pushLocated(id, begin, end);
  else out.push(id);
}

function wrongToken(subject: string, token: AddedToken, expected: string, received: string): ElasticError {
  return ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
    expected,
    subject: `${subject}: added token ${describeValue(token.content)}`,
    received,
  });
}

function checkArguments(text: string, pair: string | undefined, options: EncodeOptions): void {
  const { maxLength, truncation } = options;
  if (typeof text !== 'string') throw wrongArgument('a string', 'text', text);
  if (pair !== undefined && typeof pair !== 'string') throw wrongArgument('a string', 'pair', pair);
  if (maxLength !== undefined && !Number.isInteger(maxLength)) {
    throw wrongArgument('an integer', 'options.maxLength', maxLength);
  }
  if (truncation !== undefined && !truncations.includes(truncation)) {
    throw wrongArgument(`one of ${truncations.join(', ')}`, 'options.truncation', truncation);
  }
}

function wrongArgument(expected: string, subject: string, value: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', { expected, subject, received: describeValue(value) });
}
