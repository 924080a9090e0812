// @ts-check
/**
 * Writes the tables of docs/cuda.md that are computed: the least that a forward can take on a card, from the flops and bytes of
 * what a level keeps, and what ptxas made of the kernels (docs/results/ptxas.json). `--check` only compares.
 */
import { readFileSync } from 'node:fs';
import { table, writeSection } from './generated-section.mjs';

/** BERT-base, the shape that bench/gpu measures. */
const model = { hidden: 768, layers: 12, heads: 12, headDim: 64, neurons: 3072, neuronBlock: 16 };
const levels = [1, 0.5, 0.25, 0.1];
const bytesPerElement = 2; // bf16

/** @type {Record<string, number[]>} lengths of the sequences, as in bench/gpu/shapes.h */
const shapes = {
  '1x32': [32],
  '1x128': [128],
  '8x128': Array(8).fill(128),
  '32x128': Array(32).fill(128),
  '8x512': Array(8).fill(512),
  ragged64: Array.from({ length: 64 }, (_, i) => 8 + 8 * i),
};

/** Datasheet rates without sparsity; the H200's product rate also as measured with PyTorch on one (8192³, random data). */
const cards = [
  { name: 'H200', tflops: 990, measuredTflops: 790, tbPerS: 4.8 },
  { name: 'A100 80 GB', tflops: 312, measuredTflops: undefined, tbPerS: 2.0 },
];

/** What a level keeps of all layers together, by the rule of bench/gpu/shapes.h. @param {number} level */
function kept(level) {
  const heads = Math.round(level * model.heads * model.layers);
  const blocks = Math.round((level * model.neurons) / model.neuronBlock);
  return { heads, neurons: blocks * model.neuronBlock * model.layers };
}

const sum = (/** @type {number[]} */ values) => values.reduce((total, value) => total + value, 0);

/** @param {number} level @param {readonly number[]} lengths */
function costOf(level, lengths) {
  const { heads, neurons } = kept(level);
  const rows = sum([...lengths]);
  const context = heads * model.headDim;
  // q, k, v and output projection of each head, up and down projection of each neuron; Q Kᵀ and P V
  const weights = model.hidden * (4 * context + 2 * neurons);
  const flops = 2 * rows * weights + 4 * context * sum(lengths.map((length) => length * length));
  // Written and read once by each step that makes or takes it: q | k | v, context, neurons; and the hidden states: read by
  // two projections, read and written by two residuals and two LayerNorms.
  const activations = rows * (2 * 3 * context + 2 * context + 2 * neurons + 10 * model.hidden * model.layers);
  return { flops, weightBytes: weights * bytesPerElement, activationBytes: activations * bytesPerElement };
}

/** @param {number} flops @param {number} bytes @param {number} tflops @param {number} tbPerS */
function floor(flops, bytes, tflops, tbPerS) {
  const compute = flops / tflops / 1e6;
  const memory = bytes / tbPerS / 1e6;
  return `${Math.max(compute, memory).toFixed(1)} ${compute > memory ? '(flops)' : '(bytes)'}`;
}

function floorTable() {
  const head = ['batch', 'level', 'GFLOP', 'weights, MB', 'activations, MB'];
  for (const card of cards) {
    head.push(`${card.name}, µs`);
    if (card.measuredTflops !== undefined) head.push(`${card.name} at its measured rate, µs`);
  }
  const rows = Object.entries(shapes).flatMap(([name, lengths]) =>
    levels.map((level) => {
      const { flops, weightBytes, activationBytes } = costOf(level, lengths);
      const row = [name, level, (flops / 1e9).toFixed(1)];
      row.push((weightBytes / 1e6).toFixed(1), (activationBytes / 1e6).toFixed(1));
      for (const card of cards) {
        row.push(floor(flops, weightBytes, card.tflops, card.tbPerS));
        if (card.measuredTflops !== undefined) {
          row.push(floor(flops, weightBytes, card.measuredTflops, card.tbPerS));
        }
      }
      return row;
    }),
  );
  return table(head, rows);
}

function registerTable() {
  const record = JSON.parse(readFileSync(new URL('../docs/results/ptxas.json', import.meta.url), 'utf8'));
  /** @type {string[]} */
  const targets = [...new Set(record.kernels.map((/** @type {{target: string}} */ one) => one.target))];
  targets.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  /** @type {Map<string, Map<string, string>>} */
  const byKernel = new Map();
  for (const { kernel, target, registers, spillBytes } of record.kernels) {
    const row = byKernel.get(kernel) ?? new Map();
    row.set(target, spillBytes > 0 ? `${registers}, spills ${spillBytes} bytes` : registers);
    byKernel.set(kernel, row);
  }
  const rows = [...byKernel].map(([kernel, row]) => [
    `\`${kernel}\``,
    ...targets.map((target) => row.get(target) ?? ''),
  ]);
  return [
    `nvcc ${record.nvcc}, ${record.date.slice(0, 10)}; the library has ${(record.libraryBytes / 1e6).toFixed(1)} MB.`,
    '',
    table(['registers of', ...targets], rows),
  ].join('\n');
}

await writeSection('docs/cuda.md', 'floors', floorTable(), 'node scripts/cuda-floors.mjs');
await writeSection('docs/cuda.md', 'registers', registerTable(), 'node scripts/cuda-floors.mjs');
