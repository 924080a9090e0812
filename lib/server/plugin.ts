/** `elasticlm/server`: the HTTP side of a service. */
export { elasticlmPlugin, type PluginOptions } from './http/elasticlm-plugin.js';
