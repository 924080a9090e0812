import type { AddedToken } from './added-tokens.js';
import type { SpecialRole, TokenizerDefinition } from './definition.js';
import type { NormalizerOptions } from './normalizer.js';
import type { JsonReader } from './reader.js';
import type { Steps } from './steps.js';
import type { Template, TemplatePiece } from './template.js';
import { Trie } from './trie.js';

const noNormalizer: NormalizerOptions = {
  cleanText: false,
  handleChineseChars: false,
  stripAccents: false,
  lowercase: false,
};

const plainTemplates: { single: Template; pair: Template } = {
  single: [{ kind: 'text', which: 'first', typeId: 0 }],
  pair: [
    { kind: 'text', which: 'first', typeId: 0 },
    { kind: 'text', which: 'second', typeId: 1 },
  ],
};

/**
 * Reads a parsed `tokenizer.json`. Truncation, padding and decoder are left alone: the first two are the run-time state
 * of whoever saved the file, the last is not needed to encode.
 *
 * @throws ELASTICLM_TOKENIZER_INVALID for malformed content, ELASTICLM_TOKENIZER_UNSUPPORTED for parts that a BERT
 * tokenizer does not have
 */
export function* readTokenizerJson(file: JsonReader): Steps<TokenizerDefinition> {
  const version = file.field('version');
  if (!version.isAbsent && version.string() !== '1.0') throw version.unsupported("version '1.0'");
  const model = file.field('model');
  const type = model.field('type');
  if (!type.isAbsent && type.string() !== 'WordPiece') throw type.unsupported('a WordPiece model');
  const unkToken = model.field('unk_token').string();
  return {
    vocab: yield* Trie.build(yield* model.field('vocab').idsByToken()),
    unkToken,
    continuingPrefix: model.field('continuing_subword_prefix').string(),
    maxCharsPerWord: model.field('max_input_chars_per_word').count(),
    normalizer: readNormalizer(only(file.field('normalizer'), 'normalizers')),
    addedTokens: yield* readAddedTokens(file.field('added_tokens')),
    ...readPreAndPostProcessing(file),
    roles: { unk: unkToken },
  };
}

/** A chain of one step is that step. */
function only(step: JsonReader, listField: string): JsonReader {
  if (step.isAbsent || step.field('type').string() !== 'Sequence') return step;
  const [first, ...others] = step.field(listField).items();
  if (first === undefined || others.length > 0) throw step.unsupported('one step, not a chain of them,');
  return first;
}

function readNormalizer(normalizer: JsonReader): NormalizerOptions {
  if (normalizer.isAbsent) return noNormalizer;
  const type = normalizer.field('type');
  if (type.string() !== 'BertNormalizer') throw type.unsupported('BertNormalizer');
  const lowercase = normalizer.field('lowercase').boolean();
  const stripAccents = normalizer.field('strip_accents');
  return {
    cleanText: normalizer.field('clean_text').boolean(),
    handleChineseChars: normalizer.field('handle_chinese_chars').boolean(),
    stripAccents: stripAccents.isAbsent ? lowercase : stripAccents.boolean(),
    lowercase,
  };
}

function* readAddedTokens(tokens: JsonReader): Steps<AddedToken[]> {
  const read: AddedToken[] = [];
  if (tokens.isAbsent) return read;
  for (const token of tokens.items()) {
    yield;
    read.push({
      id: token.field('id').id(),
      content: token.field('content').string(),
      singleWord: token.field('single_word').boolean(),
      lstrip: token.field('lstrip').boolean(),
      rstrip: token.field('rstrip').boolean(),
      normalized: token.field('normalized').boolean(),
      special: token.field('special').boolean(),
    });
  }
  return read;
}

function readPreAndPostProcessing(file: JsonReader): { single: Template; pair: Template } {
  const preTokenizer = only(file.field('pre_tokenizer'), 'pretokenizers');
  if (preTokenizer.isAbsent) throw preTokenizer.unsupported('BertPreTokenizer');
  const preType = preTokenizer.field('type');
  if (preType.string() !== 'BertPreTokenizer') throw preType.unsupported('BertPreTokenizer');

  const processor = only(file.field('post_processor'), 'processors');
  if (processor.isAbsent) return plainTemplates;
  const type = processor.field('type');
  switch (type.string()) {
    case 'TemplateProcessing':
      return {
        single: readTemplate(processor.field('single'), processor.field('special_tokens'), ['first']),
        pair: readTemplate(processor.field('pair'), processor.field('special_tokens'), ['first', 'second']),
      };
    case 'BertProcessing':
      return bertTemplates(readTokenAndId(processor.field('cls')), readTokenAndId(processor.field('sep')));
    default:
      throw type.unsupported('TemplateProcessing or BertProcessing');
  }
}

/** `[CLS] first [SEP]` and `[CLS] first [SEP] second [SEP]`, the second text and its [SEP] of type 1. */
export function bertTemplates(clsId: number, sepId: number): { single: Template; pair: Template } {
  const single: Template = [
    { kind: 'special', ids: [clsId], typeId: 0 },
    { kind: 'text', which: 'first', typeId: 0 },
    { kind: 'special', ids: [sepId], typeId: 0 },
  ];
  const pair: Template = [
    ...single,
    { kind: 'text', which: 'second', typeId: 1 },
    { kind: 'special', ids: [sepId], typeId: 1 },
  ];
  return { single, pair };
}

function readTokenAndId(pair: JsonReader): number {
  const [token, id, ...others] = pair.items();
  if (token === undefined || id === undefined || others.length > 0) throw pair.invalid('[token, id]');
  token.string();
  return id.id();
}

function readTemplate(
  template: JsonReader,
  specialTokens: JsonReader,
  texts: readonly ('first' | 'second')[],
): Template {
  const pieces = Array.from(template.items(), (item): TemplatePiece => {
    const [piece, ...others] = item.entries();
    if (piece === undefined || others.length > 0) throw item.invalid('one of SpecialToken and Sequence');
    const [kind, body] = piece;
    const id = body.field('id');
    const typeId = body.field('type_id').id();
    if (kind === 'SpecialToken') return { kind: 'special', ids: idsOf(specialTokens, id.string()), typeId };
    if (kind !== 'Sequence') throw item.invalid('one of SpecialToken and Sequence');
    const name = id.string();
    if (name !== 'A' && name !== 'B') throw id.invalid('A or B');
    return { kind: 'text', which: name === 'A' ? 'first' : 'second', typeId };
  });
  const placed = pieces.flatMap((piece) => (piece.kind === 'text' ? [piece.which] : []));
  if (placed.length !== texts.length || texts.some((text) => !placed.includes(text))) {
    throw template.unsupported(`a template with each of ${texts.length} texts once`);
  }
  return pieces;
}

function idsOf(specialTokens: JsonReader, name: string): number[] {
  return Array.from(specialTokens.field(name).field('ids').items(), (id) => id.id());
}

/** The roles that a checkpoint's JSON files name, as text or as an object with `content`. */
export function readRole(file: JsonReader, role: SpecialRole): string | undefined {
  const token = file.field(`${role}_token`);
  if (token.isAbsent) return undefined;
  return token.isString ? token.string() : token.field('content').string();
}
