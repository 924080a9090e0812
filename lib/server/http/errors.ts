/** Failures as each API says them. */
import type { FastifyError } from 'fastify';
import { ElasticError, type ErrorCode } from '../../errors.js';

/** Whose form a route's errors have: OpenAI's, text-embeddings-inference's, or Cohere's and Jina's. */
export type ApiStyle = 'openai' | 'tei' | 'cohere';

export interface HttpFailure {
  status: number;
  /** ms after which the same request may succeed */
  retryAfterMs?: number | undefined;
  body: object;
}

const statuses: Partial<Record<ErrorCode, number>> = {
  ELASTICLM_ARGUMENT_INVALID: 400,
  ELASTICLM_LEVEL_UNKNOWN: 400,
  ELASTICLM_TEXT_TOO_LONG: 413,
  ELASTICLM_QUEUE_FULL: 429,
  // The client has gone: nobody reads it, but logs do.
  ELASTICLM_CALL_ABORTED: 499,
  ELASTICLM_DEADLINE_UNREACHABLE: 503,
  ELASTICLM_DEADLINE_MISSED: 503,
  ELASTICLM_SCHEDULER_CLOSED: 503,
  ELASTICLM_MODEL_CLOSED: 503,
};

export function failureOf(error: unknown, style: ApiStyle): HttpFailure {
  const status = statusOf(error);
  const code = error instanceof ElasticError ? error.code : codeOf(error);
  // What went wrong inside is for the log, not for whoever asks.
  const message = status === 500 ? 'internal error' : (error as Error).message;
  const retryAfterMs = error instanceof ElasticError ? error.retryAfterMs : undefined;
  return { status, retryAfterMs, body: bodyOf(style, { status, code, message }) };
}

/** A request that is wrong in itself, as what `message` says. */
export class BadRequest extends Error {
  readonly statusCode: number;

  constructor(message: string, statusCode = 400) {
    super(message);
    this.statusCode = statusCode;
  }
}

function statusOf(error: unknown): number {
  if (error instanceof ElasticError) return statuses[error.code] ?? 500;
  const { statusCode = 500 } = error as FastifyError;
  return statusCode >= 400 && statusCode < 500 ? statusCode : 500;
}

function codeOf(error: unknown): string | null {
  const { code } = error as FastifyError;
  return typeof code === 'string' ? code : null;
}

interface Facts {
  status: number;
  code: string | null;
  message: string;
}

function bodyOf(style: ApiStyle, { status, code, message }: Facts): object {
  switch (style) {
    case 'openai':
      return { error: { message, type: openAiType(status), param: null, code } };
    case 'tei':
      return { error: message, error_type: teiType(status) };
    case 'cohere':
      return { message };
  }
}

function openAiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

function teiType(status: number): string {
  if (status === 429 || status === 503) return 'Overloaded';
  if (status === 401) return 'Unauthorized';
  if (status === 499 || status === 500) return 'Backend';
  return 'Validation';
}
