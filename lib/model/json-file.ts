/** JSON files of a checkpoint, read as if somebody hostile had written them. */
import { readFile, stat } from 'node:fs/promises';
import { describeValue, ElasticError, type ErrorCode } from '../errors.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Far above any honest config or elastic.json (a 24-layer permutation takes 0.6 MB): larger files are not read. */
const maxJsonBytes = 64 * 1024 * 1024;

/** Who a file belongs to, for messages: a wrong file fails with `code`. */
export interface JsonSource {
  path: string;
  code: ErrorCode;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The file's value, or undefined when there is no such file. */
export async function readJsonIfThere(source: JsonSource): Promise<unknown> {
  let text: string;
  try {
    const { size } = await stat(source.path);
    if (size > maxJsonBytes) {
      throw invalid(source, `at most ${maxJsonBytes} bytes`, `${size} bytes`);
    }
    text = await readFile(source.path, 'utf8');
  } catch (cause) {
    if (cause instanceof ElasticError) throw cause;
    if (isMissing(cause)) return undefined;
    throw ElasticError.of(
      'ELASTICLM_FILE_UNREADABLE',
      {
        expected: 'a file that can be read',
        subject: source.path,
        received: cause instanceof Error ? cause.message : String(cause),
      },
      { cause },
    );
  }
  return parseJson(text, source);
}

/** `readJsonIfThere` for a file that holds one object. */
export async function readObjectIfThere(source: JsonSource): Promise<JsonObject | undefined> {
  const value = await readJsonIfThere(source);
  if (value === undefined || isObject(value)) return value;
  throw invalid(source, 'a JSON object', describeValue(value));
}

export function parseJson(text: string, source: JsonSource): unknown {
  try {
    return JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch (cause) {
    throw invalid(source, 'valid JSON', cause instanceof Error ? cause.message : String(cause));
  }
}

export function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The error of a file whose `field` is not what it must be. */
export function invalidField(
  source: JsonSource,
  field: string,
  expected: string,
  value: unknown,
): ElasticError {
  return ElasticError.of(source.code, {
    expected,
    subject: `${field} in ${source.path}`,
    received: describeValue(value),
  });
}

function invalid(source: JsonSource, expected: string, received: string): ElasticError {
  return ElasticError.of(source.code, { expected, subject: source.path, received });
}
