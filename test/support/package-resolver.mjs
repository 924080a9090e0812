// @ts-check
/** Loader hooks, in the thread that Node gives them: see package-sources.mjs. */

const sources = /** @type {Record<string, string>} */ ({
  elasticlm: new URL('../../lib/index.ts', import.meta.url).href,
  'elasticlm/server': new URL('../../lib/server/plugin.ts', import.meta.url).href,
});

/** @type {import('node:module').ResolveHook} */
export const resolve = (specifier, context, next) => next(sources[specifier] ?? specifier, context);
