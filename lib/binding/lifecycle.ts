/** Open, closing, closed: the one lifecycle of everything that owns native memory and threads. */
import { ElasticError, type ErrorCode } from '../errors.js';
import type { AddonCall } from './addon.js';
import { captureCallSite, runCall, toElasticError } from './call.js';

/** Something native that reads its files on a thread of its own. */
interface Loaded {
  load(): AddonCall;
  close(): AddonCall;
}

/** Makes and loads it; what has failed to load is closed. */
export async function loadNativeObject<Native extends Loaded>(make: () => Native): Promise<Native> {
  const site = captureCallSite();
  let native: Native;
  try {
    native = make();
  } catch (error) {
    throw toElasticError(error, site);
  }
  try {
    await runCall(() => native.load(), site);
  } catch (error) {
    await runCall(() => native.close(), site);
    throw error;
  }
  return native;
}

export class Lifecycle {
  #closing: Promise<void> | undefined;
  readonly #closedCode: ErrorCode;
  readonly #noun: string;

  constructor(closedCode: ErrorCode, noun: string) {
    this.#closedCode = closedCode;
    this.#noun = noun;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** @throws the closed code when close() has been called */
  check(method: string): void {
    if (this.#closing === undefined) return;
    throw ElasticError.of(this.#closedCode, {
      expected: `an open ${this.#noun}`,
      subject: method,
      received: `one that close() was called on`,
      remedy: `Load it again, or close it after its last use`,
    });
  }

  /** The same promise for every call. */
  close(release: () => AddonCall): Promise<void> {
    this.#closing ??= runCall(release, captureCallSite());
    return this.#closing;
  }
}
