/** What sentence-transformers keeps beside a checkpoint for the heads: prompts, and the activation of a cross-encoder. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeValue, ElasticError } from '../errors.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** What a text is, for models that were trained with a prompt before queries or documents. */
export type TextKind = 'query' | 'document';

/** Texts put before every query, document, or text of no stated kind. */
export type Prompts = Readonly<Record<TextKind | 'default', string>>;

/** Names that sentence-transformers looks for, in its order. */
const promptNames: Readonly<Record<TextKind, readonly string[]>> = {
  query: ['query'],
  document: ['document', 'passage', 'corpus'],
};

/**
 * The prompts of `config_sentence_transformers.json`; empty ones where it has none.
 * @throws ELASTICLM_CONFIG_INVALID, ELASTICLM_FILE_UNREADABLE
 */
export async function readPrompts(directory: string): Promise<Prompts> {
  const path = join(directory, 'config_sentence_transformers.json');
  const config = (await readJsonObject(path)) ?? {};
  const prompts = config['prompts'] ?? {};
  if (!isObject(prompts) || !Object.values(prompts).every((prompt) => typeof prompt === 'string')) {
    throw invalid(path, 'an object of strings in "prompts"', prompts);
  }
  const named = prompts as Readonly<Record<string, string>>;
  const defaultName = config['default_prompt_name'] ?? undefined;
  if (defaultName !== undefined && (typeof defaultName !== 'string' || !Object.hasOwn(named, defaultName))) {
    throw invalid(path, 'the name of one of its prompts in "default_prompt_name"', defaultName);
  }
  const fallback = defaultName === undefined ? '' : named[defaultName]!;
  const promptOf = (kind: TextKind): string => {
    const name = promptNames[kind].find((candidate) => Object.hasOwn(named, candidate));
    return name === undefined ? fallback : named[name]!;
  };
  return { query: promptOf('query'), document: promptOf('document'), default: fallback };
}

/** What turns a ranker's logit into its score. */
export type Activation = 'sigmoid' | 'identity';

/**
 * The activation that a cross-encoder's `config.json` names, else 'sigmoid', as sentence-transformers' CrossEncoder does
 * for one label.
 * @throws ELASTICLM_CONFIG_UNSUPPORTED when it names another one
 */
export async function readActivation(directory: string): Promise<Activation> {
  const path = join(directory, 'config.json');
  const config = (await readJsonObject(path)) ?? {};
  const newer = config['sentence_transformers'];
  const name =
    (isObject(newer) ? newer['activation_fn'] : undefined) ?? config['sbert_ce_default_activation_function'];
  if (name === undefined || name === null) return 'sigmoid';
  const known = typeof name === 'string' ? /\.(Sigmoid|Identity)$/.exec(name)?.[1] : undefined;
  if (known !== undefined) return known === 'Sigmoid' ? 'sigmoid' : 'identity';
  throw ElasticError.of('ELASTICLM_CONFIG_UNSUPPORTED', {
    expected: 'the activation Sigmoid or Identity',
    subject: path,
    received: describeValue(name),
    remedy: "Give options.activation: 'sigmoid' or 'identity'",
  });
}

async function readJsonObject(path: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw ElasticError.of(
      'ELASTICLM_FILE_UNREADABLE',
      { expected: 'a readable file', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, 'JSON', (cause as Error).message);
  }
  if (!isObject(value)) throw invalid(path, 'a JSON object', value);
  return value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(path: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_CONFIG_INVALID', {
    expected,
    subject: path,
    received: describeValue(received),
  });
}
