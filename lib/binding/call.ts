/** From a native call to a promise: abort signals, coded errors, the JavaScript stack of the call. */
import { ElasticError, errorCodes, type ErrorCode } from '../errors.js';
import { loadAddon, type AddonCall } from './addon.js';

const knownCodes: ReadonlySet<string> = new Set(errorCodes);

/** Where a call was made, for an error that is found out later, on another thread. */
export interface CallSite {
  readonly stack?: string;
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- V8 takes any function as the frame to stop at
export function captureCallSite(below: Function): CallSite {
  const site: { stack?: string } = {};
  Error.captureStackTrace(site, below);
  return site;
}

/** Native code throws plain errors whose `code` comes from its enum; anything else is a fault of ours. */
export function toElasticError(error: unknown, site?: CallSite): ElasticError {
  if (error instanceof ElasticError) return error;
  const { code, message } = error as { code?: unknown; message?: unknown };
  const known = typeof code === 'string' && knownCodes.has(code);
  const wrapped = known
    ? new ElasticError(code as ErrorCode, String(message))
    : new ElasticError('ELASTICLM_INTERNAL_FAILED', `native code failed: ${String(message ?? error)}`, {
        cause: error,
      });
  return at(wrapped, site);
}

/** The error that an aborted call rejects with; `cause` is the signal's reason. */
export function abortError(signal: AbortSignal, site?: CallSite): ElasticError {
  const message = 'the call was aborted by its AbortSignal';
  return at(new ElasticError('ELASTICLM_CALL_ABORTED', message, { cause: signal.reason }), site);
}

function at(error: ElasticError, site: CallSite | undefined): ElasticError {
  const frames = site?.stack?.indexOf('\n    at ');
  if (site?.stack !== undefined && frames !== undefined && frames >= 0) {
    error.stack = `${error.name}: ${error.message}${site.stack.slice(frames)}`;
  }
  return error;
}

/**
 * Starts a native call and follows it to its end. Once `signal` has fired the promise rejects with
 * ELASTICLM_CALL_ABORTED, even when the work was already done; the listener never outlives the call.
 */
export async function runCall(start: () => AddonCall, site: CallSite, signal?: AbortSignal): Promise<void> {
  if (hasFired(signal)) throw abortError(signal, site);
  let onAbort: (() => void) | undefined;
  try {
    const call = start();
    if (signal !== undefined) {
      const { cancel } = loadAddon();
      onAbort = () => {
        cancel(call.id);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    }
    await call.promise;
  } catch (error) {
    throw hasFired(signal) ? abortError(signal, site) : toElasticError(error, site);
  } finally {
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
  }
  if (hasFired(signal)) throw abortError(signal, site);
}

/** A function, because a signal that was read as not aborted can be aborted at the next look. */
function hasFired(signal: AbortSignal | undefined): signal is AbortSignal {
  return signal?.aborted === true;
}
