import { findPackage } from '../binding/index.js';

/** The version of this package, as its package.json says. */
export function packageVersion(): string {
  return findPackage().version;
}
