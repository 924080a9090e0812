// @ts-check
/**
 * Which folder may use which: the architecture's arrows, as data. `scripts/eslint-folder-imports.mjs` holds them in lib/,
 * `scripts/check-includes.mjs` in native/. A folder may always use its own files.
 */

/** @typedef {Record<string, readonly string[]>} FolderRules folder, or file without its suffix, to what it may use */

/** Records and errors, which nearly every folder needs; they themselves use nothing. */
const shared = ['errors', 'types'];

/** @type {FolderRules} */
export const libRules = {
  errors: [],
  types: [],
  slices: ['errors'],
  binding: shared,
  tokenizer: shared,
  batch: shared,
  model: [...shared, 'binding', 'batch'],
  heads: [...shared, 'model', 'tokenizer', 'batch'],
  // the index is searched by native code, and binding is the only door to it
  retrieval: [...shared, 'heads', 'binding'],
  schedule: [...shared, 'batch', 'slices'],
  // calibration starts from text
  structure: [...shared, 'model', 'binding', 'tokenizer', 'batch'],
  // tasks are read from their files by eval, which also measures a student on the way; hard negatives are found by searching
  train: [
    ...shared,
    'slices',
    'model',
    'tokenizer',
    'batch',
    'binding',
    'structure',
    'heads',
    'retrieval',
    'eval',
  ],
  eval: [...shared, 'slices', 'heads', 'retrieval'],
  // a model behind a schedule; public names alone, but not through index, which names the server's in turn
  server: [...shared, 'slices', 'model', 'batch', 'heads', 'schedule'],
  cli: ['index', 'server'],
  index: [
    ...shared,
    'model',
    'tokenizer',
    'batch',
    'heads',
    'retrieval',
    'schedule',
    'structure',
    'train',
    'eval',
    'server',
  ],
};

/**
 * Packages that only one folder of lib/ may import: the addon's loader, what draws on a terminal or a chart, what unpacks
 * data files, and what checks a recipe.
 */
export const packageOwners = {
  'node-gyp-build': 'binding',
  commander: 'cli',
  'cli-progress': 'cli',
  'cli-table3': 'cli',
  'd3-scale': 'cli',
  'd3-shape': 'cli',
  uplot: 'cli',
  '@fastify/swagger': 'server',
  ajv: 'server',
  'prom-client': 'server',
  'csv-parse': 'schedule',
  tinyqueue: 'schedule',
  'ml-fcnnls': 'schedule',
  'xz-decompress': 'eval',
  valibot: 'train',
};

/** Every folder of native/ but addon, which may include everything and is the only one to see Node. */
const nativeFolders = [
  'core',
  'model',
  'kernels',
  'kernels/ref',
  'kernels/cpu',
  'plan',
  'exec',
  'search',
  'train',
  'cuda',
];

/** What only a build for a GPU, or for the emulator, compiles. */
const cudaFolders = ['kernels/cuda', 'exec/cuda'];

/**
 * `kernels` alone means its op contracts. bench is bench/native.
 * @type {FolderRules}
 */
export const nativeRules = {
  core: [],
  model: ['core'],
  // the kernel table names every implementation
  kernels: ['core', 'kernels/ref', 'kernels/cpu'],
  'kernels/ref': ['core', 'kernels'],
  'kernels/cpu': ['core', 'kernels'],
  'kernels/cuda': ['core', 'kernels', 'emulator'],
  // twins of what kernels/cuda says
  emulator: ['core', 'kernels/cuda', 'emulator/async'],
  'emulator/async': ['core', 'kernels/cuda', 'emulator'],
  // headers with the toolkit's names
  'emulator/include': ['emulator'],
  // the device's plan writes the records that its kernels read
  plan: ['core', 'model', 'kernels', 'kernels/cuda'],
  exec: ['core', 'model', 'kernels', 'plan'],
  'exec/cuda': ['core', 'model', 'kernels', 'kernels/cuda', 'plan', 'exec'],
  search: ['core', 'kernels'],
  train: ['core', 'model', 'kernels', 'plan', 'exec'],
  // the library's entry, and how the addon finds it
  cuda: ['core', 'model', 'plan', 'exec', 'exec/cuda'],
  addon: nativeFolders,
  test: nativeFolders,
  'test/cuda': [...nativeFolders, ...cudaFolders, 'emulator', 'emulator/async', 'test'],
  bench: [...nativeFolders, 'test'],
  'bench/gpu': [...nativeFolders, ...cudaFolders, 'test', 'test/cuda'],
};

/** The headers through which kernels are called, and the folders that may call them. */
export const kernelTables = [
  {
    header: 'kernels/kernel_table.h',
    callers: ['kernels', 'exec', 'search', 'train', 'addon', 'test', 'bench'],
  },
  { header: 'kernels/training_kernels.h', callers: ['kernels', 'train', 'test', 'bench'] },
];

/** Headers of Node and of its C++ wrapper, for native/addon alone. */
export const nodeHeaders = /^(napi|js_native_api|node|uv|v8)([-_./].*)?\.h$/;
