/** Assertions about coded errors: the code is the contract, the message is for people but must say what matters. */
import { expect } from 'vitest';
import { ElasticError, type ErrorCode } from '../../lib/errors.js';

/** What `act` throws, which must be an ElasticError with this code and a message that matches. */
export function expectCode(act: () => unknown, code: ErrorCode, message = /./): ElasticError {
  try {
    act();
  } catch (error) {
    return checked(error, code, message);
  }
  throw new Error(`expected ${code}, but nothing was thrown`);
}

/** What `promise` rejects with, likewise. */
export async function expectRejection(
  promise: Promise<unknown>,
  code: ErrorCode,
  message = /./,
): Promise<ElasticError> {
  try {
    await promise;
  } catch (error) {
    return checked(error, code, message);
  }
  throw new Error(`expected ${code}, but the promise was fulfilled`);
}

function checked(error: unknown, code: ErrorCode, message: RegExp): ElasticError {
  if (!(error instanceof ElasticError)) throw error;
  expect(error.code, error.message).toBe(code);
  expect(error.message).toMatch(message);
  return error;
}
