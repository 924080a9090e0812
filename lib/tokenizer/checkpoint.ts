import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import { specialRoles } from './definition.js';
import type { SpecialRole, TokenizerDefinition } from './definition.js';
import { checkUtf8, parseJson } from './json.js';
import { JsonReader } from './reader.js';
import { runInSlices } from './steps.js';
import { readRole, readTokenizerJson } from './tokenizer-json.js';
import { readVocabTxt } from './vocab-txt.js';

/** Finds and reads the tokenizer's files in a checkpoint's folder; `subject` is the one that holds the vocabulary. */
export async function readCheckpoint(
  directory: string,
): Promise<{ definition: TokenizerDefinition; subject: string }> {
  const [tokenizer, tokenizerConfig, specialTokensMap] = await Promise.all([
    readJson(directory, 'tokenizer.json', ['model', 'vocab']),
    readJson(directory, 'tokenizer_config.json'),
    readJson(directory, 'special_tokens_map.json'),
  ]);
  let definition: TokenizerDefinition;
  let subject: string;
  if (tokenizer !== undefined) {
    definition = await runInSlices(readTokenizerJson(tokenizer));
    ({ subject } = tokenizer);
  } else {
    subject = join(directory, 'vocab.txt');
    const vocab = await readUtf8(subject);
    if (vocab === undefined) {
      throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
        expected: 'tokenizer.json or vocab.txt',
        subject: directory,
        received: 'neither',
      });
    }
    const addedTokens = await readJson(directory, 'added_tokens.json', []);
    const absent = JsonReader.of(undefined, directory);
    const files = {
      tokenizerConfig: tokenizerConfig ?? absent,
      specialTokensMap: specialTokensMap ?? absent,
      addedTokens: addedTokens ?? absent,
    };
    definition = await runInSlices(readVocabTxt(linesOf(vocab), files, subject));
  }
  const roles: Partial<Record<SpecialRole, string>> = {};
  for (const role of specialRoles) {
    for (const file of [specialTokensMap, tokenizerConfig]) {
      const token = file === undefined ? undefined : readRole(file, role);
      if (token !== undefined) roles[role] = token;
    }
  }
  const maxLength = tokenizerConfig === undefined ? undefined : readMaxLength(tokenizerConfig);
  return {
    definition: {
      ...definition,
      roles: { ...roles, ...definition.roles },
      ...(maxLength === undefined ? {} : { modelMaxLength: maxLength }),
    },
    subject,
  };
}

/** Hugging Face writes 1e30 where a tokenizer has no bound. */
function readMaxLength(config: JsonReader): number | undefined {
  const field = config.field('model_max_length');
  if (field.isAbsent) return undefined;
  const length = field.number();
  if (!(length >= 1)) throw field.invalid('a length of at least 1');
  return length > Number.MAX_SAFE_INTEGER ? undefined : Math.floor(length);
}

/** Lines as ids count them: the line break after the last one begins no other. */
function* linesOf(bytes: Buffer): Generator<string, void, undefined> {
  for (let begin = 0; begin < bytes.length;) {
    const lineBreak = bytes.indexOf(0x0a, begin);
    const end = lineBreak === -1 ? bytes.length : lineBreak;
    yield bytes.toString('utf8', begin, end);
    begin = end + 1;
  }
}

/** @param idTablePath where the file holds ids by token */
async function readJson(
  directory: string,
  name: string,
  idTablePath?: readonly string[],
): Promise<JsonReader | undefined> {
  const path = join(directory, name);
  const bytes = await readUtf8(path);
  if (bytes === undefined) return undefined;
  try {
    return JsonReader.of(await runInSlices(parseJson(bytes, idTablePath)), path);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_TOKENIZER_INVALID',
      {
        expected: 'JSON',
        subject: path,
        received: cause instanceof Error ? cause.message : 'something else',
      },
      { cause },
    );
  }
}

/** A file's bytes, which are UTF-8, or undefined where there is none. */
async function readUtf8(path: string): Promise<Buffer | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'an error';
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw ElasticError.of(
      'ELASTICLM_FILE_UNREADABLE',
      { expected: 'a readable file', subject: path, received: code },
      { cause },
    );
  }
  if (await runInSlices(checkUtf8(bytes))) return bytes;
  throw ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
    expected: 'UTF-8 text',
    subject: path,
    received: 'other bytes',
  });
}
