import { ElasticError } from '../errors.js';
import type { AddedToken } from './added-tokens.js';
import { defaultRoleTokens, specialRoles } from './definition.js';
import type { SpecialRole, TokenizerDefinition } from './definition.js';
import { KeyTable } from './key-table.js';
import type { JsonReader } from './reader.js';
import type { Steps } from './steps.js';
import { bertTemplates, readRole } from './tokenizer-json.js';
import { Trie } from './trie.js';
import { charFlag, codePointFlags, prepareCodePoints } from './unicode.js';

/** The files beside a `vocab.txt`; each may be absent. */
export interface VocabReaders {
  tokenizerConfig: JsonReader;
  specialTokensMap: JsonReader;
  addedTokens: JsonReader;
}

/** Hugging Face's defaults where tokenizer_config.json is silent. */
const DEFAULT_MAX_CHARS_PER_WORD = 100;

/** Lines, or added tokens, between two pauses. */
const LINES_PER_STEP = 128;

/**
 * Reads a `vocab.txt` with what stands beside it, as Hugging Face's BertTokenizerFast does: the line number is the id, a
 * token that occurs twice has the later one, whitespace at a line's end is no part of the token.
 *
 * @throws ELASTICLM_TOKENIZER_INVALID for malformed content or a vocabulary without `[UNK]`, `[CLS]` or `[SEP]`
 */
export function* readVocabTxt(
  lines: Iterable<string>,
  files: VocabReaders,
  subject: string,
): Steps<TokenizerDefinition> {
  yield* prepareCodePoints();
  const keys = new KeyTable();
  for (const line of lines) {
    if (keys.length % LINES_PER_STEP === 0) yield;
    keys.add(trimEnd(line), keys.length);
  }
  const vocab = yield* Trie.build(keys);

  const roles = {} as Record<SpecialRole, string>;
  for (const role of specialRoles) {
    const named = [files.tokenizerConfig, files.specialTokensMap].map((file) =>
      file.isAbsent ? undefined : readRole(file, role),
    );
    roles[role] = named[0] ?? named[1] ?? defaultRoleTokens[role];
  }
  const addedTokens = yield* readAddedTokens(vocab, roles, files);
  const idOf = (token: string): number => {
    const id = vocab.get(token) ?? addedTokens.find(({ content }) => content === token)?.id;
    if (id !== undefined) return id;
    throw ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
      expected: `the token ${JSON.stringify(token)}`,
      subject,
      received: `${vocab.size} other tokens`,
    });
  };
  const option = (name: string, absent: boolean): boolean => {
    if (files.tokenizerConfig.isAbsent) return absent;
    const field = files.tokenizerConfig.field(name);
    return field.isAbsent ? absent : field.boolean();
  };
  const lowercase = option('do_lower_case', true);
  return {
    vocab,
    unkToken: roles.unk,
    continuingPrefix: '##',
    maxCharsPerWord: DEFAULT_MAX_CHARS_PER_WORD,
    normalizer: {
      cleanText: true,
      handleChineseChars: option('tokenize_chinese_chars', true),
      stripAccents: option('strip_accents', lowercase),
      lowercase,
    },
    addedTokens,
    ...bertTemplates(idOf(roles.cls), idOf(roles.sep)),
    roles,
  };
}

/**
 * The tokens with a role, then those of added_tokens.json and of tokenizer_config.json's added_tokens_decoder, by id. The
 * decoder says how a token is matched; the older file only that it exists.
 */
function* readAddedTokens(
  vocab: Trie,
  roles: Readonly<Record<SpecialRole, string>>,
  files: VocabReaders,
): Steps<AddedToken[]> {
  const tokens = new Map<string, AddedToken>();
  const plain = { singleWord: false, lstrip: false, rstrip: false };
  for (const content of Object.values(roles)) {
    const id = vocab.get(content);
    if (id !== undefined) tokens.set(content, { id, content, ...plain, normalized: false, special: true });
  }
  if (!files.addedTokens.isAbsent) {
    const keys = yield* files.addedTokens.idsByToken();
    for (let index = 0; index < keys.length; index++) {
      if (index % LINES_PER_STEP === 0) yield;
      const content = keys.key(index);
      const id = keys.values[index]!;
      const special = Object.values(roles).includes(content);
      tokens.set(content, { id, content, ...plain, normalized: !special, special });
    }
  }
  const decoder = files.tokenizerConfig.isAbsent
    ? files.tokenizerConfig
    : files.tokenizerConfig.field('added_tokens_decoder');
  if (!decoder.isAbsent) {
    for (const [id, token] of decoder.entries()) {
      yield;
      const flag = (name: string, absent: boolean): boolean => {
        const field = token.field(name);
        return field.isAbsent ? absent : field.boolean();
      };
      if (!/^\d{1,9}$/.test(id)) throw token.invalid('a token under its id');
      const content = token.field('content').string();
      const special = flag('special', false);
      tokens.set(content, {
        id: Number(id),
        content,
        singleWord: flag('single_word', false),
        lstrip: flag('lstrip', false),
        rstrip: flag('rstrip', false),
        normalized: flag('normalized', !special),
        special,
      });
    }
  }
  return [...tokens.values()].sort((a, b) => a.id - b.id);
}

function trimEnd(line: string): string {
  const flags = codePointFlags();
  let end = line.length;
  while (end > 0 && flags[line.charCodeAt(end - 1)]! & charFlag.whitespace) end--;
  return line.slice(0, end);
}
