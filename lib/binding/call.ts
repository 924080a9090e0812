/** From a native call to a promise: abort signals, coded errors, the JavaScript stack of the call. */
import { describeValue, ElasticError, errorCodes, type ErrorCode } from '../errors.js';
import { loadAddon, type AddonCall } from './addon.js';

const knownCodes: ReadonlySet<string> = new Set(errorCodes);

/** Where a call was made, for an error that is found out later, on another thread. */
export interface CallSite {
  readonly stack?: string;
}

/** The caller's frames, taken before the work leaves for another thread. Formatted only when somebody reads them. */
export function captureCallSite(): CallSite {
  const site: { stack?: string } = {};
  Error.captureStackTrace(site, captureCallSite);
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
  if (signal === undefined) {
    try {
      await start().promise;
    } catch (error) {
      throw toElasticError(error, site);
    }
    return;
  }
  const given: unknown = signal;
  if (!(given instanceof AbortSignal)) {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'an AbortSignal',
      subject: 'signal',
      received: describeValue(given),
    });
  }
  if (signal.aborted) throw abortError(signal, site);
  const { cancel } = loadAddon();
  let id: number | undefined;
  const onAbort = (): void => {
    if (id !== undefined) cancel(id);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const call = start();
    id = call.id;
    await call.promise;
  } catch (error) {
    if (!hasFired(signal)) throw toElasticError(error, site);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  if (hasFired(signal)) throw abortError(signal, site);
}

/** A function, because the compiler takes a signal once seen as not aborted to stay so. */
function hasFired(signal: AbortSignal): boolean {
  return signal.aborted;
}
