/**
 * Every failure the library reports has one of these codes. Native code raises the same names from its own enum
 * (`native/core/status.h`); the rest are raised by the TypeScript layer. Codes are part of the public contract.
 */
export const errorCodes = [
  // raised by native code, in the order of native/core/status.h
  'ELASTICLM_FILE_NOT_FOUND',
  'ELASTICLM_FILE_UNREADABLE',
  'ELASTICLM_FILE_UNWRITABLE',
  'ELASTICLM_CHECKPOINT_INVALID',
  'ELASTICLM_TENSOR_MISSING',
  'ELASTICLM_TENSOR_SHAPE_MISMATCH',
  'ELASTICLM_DTYPE_UNSUPPORTED',
  'ELASTICLM_CONFIG_INVALID',
  'ELASTICLM_STRUCTURE_INVALID',
  'ELASTICLM_BATCH_INVALID',
  'ELASTICLM_INDEX_INVALID',
  'ELASTICLM_MODEL_CLOSED',
  'ELASTICLM_CALL_ABORTED',
  'ELASTICLM_MEMORY_EXHAUSTED',
  'ELASTICLM_ISA_UNSUPPORTED',
  'ELASTICLM_PRECISION_UNSUPPORTED',
  'ELASTICLM_BACKEND_UNAVAILABLE',
  'ELASTICLM_DEVICE_MEMORY_EXHAUSTED',
  'ELASTICLM_DEVICE_FAILED',
  'ELASTICLM_INTERNAL_FAILED',
  // raised by the TypeScript layer
  'ELASTICLM_ADDON_MISSING',
  'ELASTICLM_ARGUMENT_INVALID',
  'ELASTICLM_CONFIG_UNSUPPORTED',
  'ELASTICLM_ELASTIC_INVALID',
  'ELASTICLM_LEVEL_UNKNOWN',
  'ELASTICLM_TOKENIZER_INVALID',
  'ELASTICLM_TOKENIZER_UNSUPPORTED',
  'ELASTICLM_TEXT_TOO_LONG',
  'ELASTICLM_DATA_INVALID',
  'ELASTICLM_INDEX_CLOSED',
  'ELASTICLM_HEAD_MISSING',
  'ELASTICLM_TRAINER_CLOSED',
  'ELASTICLM_TRAINING_DIVERGED',
  'ELASTICLM_TRAINING_STATE_MISMATCH',
  'ELASTICLM_RECIPE_INVALID',
  'ELASTICLM_DEADLINE_UNREACHABLE',
  'ELASTICLM_DEADLINE_MISSED',
  'ELASTICLM_QUEUE_FULL',
  'ELASTICLM_SCHEDULER_CLOSED',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** What was expected, for what, what was received, and what to do about it. */
export interface ErrorFacts {
  /** what the rule is, e.g. `a level in (0, 1] that the checkpoint holds: 1, 0.5, 0.25` */
  expected: string;
  /** which argument, file or field the rule is about, e.g. `options.level` or a file's path */
  subject: string;
  /** what was found instead, short and printable */
  received: string;
  /** what the caller can do */
  remedy?: string;
}

export interface ElasticErrorOptions extends ErrorOptions {
  /** ms after which the same call may succeed */
  retryAfterMs?: number;
}

/** The one error class of the library. `code` is stable; the message is for people. */
export class ElasticError extends Error {
  override readonly name = 'ElasticError';
  readonly code: ErrorCode;
  /** ms after which the same call may succeed; only where a full schedule refused it */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options?: ElasticErrorOptions) {
    super(message, options);
    this.code = code;
    this.retryAfterMs = options?.retryAfterMs;
  }

  /** Builds the message from its facts: "expected … for …, received …. remedy". */
  static of(code: ErrorCode, facts: ErrorFacts, options?: ErrorOptions): ElasticError {
    const remedy = facts.remedy === undefined ? '' : `. ${facts.remedy}`;
    const message = `expected ${facts.expected} for ${facts.subject}, received ${facts.received}${remedy}`;
    return new ElasticError(code, message, options);
  }
}

/** A short, printable form of any value for `ErrorFacts.received`: never throws, never longer than about 80 characters. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > 60 ? `a string of ${value.length} characters` : JSON.stringify(value);
  }
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`;
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value).slice(0, 5).join(', ');
    return keys === '' ? 'an empty object' : `an object with keys ${keys}`.slice(0, 80);
  }
  return String(value);
}

/** @throws ELASTICLM_CALL_ABORTED, with the signal's reason as its cause, once `signal` has fired */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

/** What a call ends with whose signal has fired. */
export function abortError(signal: AbortSignal): ElasticError {
  return new ElasticError('ELASTICLM_CALL_ABORTED', 'the call was aborted by its AbortSignal', {
    cause: signal.reason,
  });
}
