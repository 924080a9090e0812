// @ts-check
/** Makes `elasticlm` and `elasticlm/server` mean the sources, for programs that import the package by its name. */
import { register } from 'node:module';

register('./package-resolver.mjs', import.meta.url);
