/**
 * How much each head and neuron matters (the paper's expressive score), as pure functions of numbers measured elsewhere.
 * Axes: L layers, H heads, F neurons.
 */
import { ElasticError } from '../errors.js';

/** A number for each head and neuron of the whole model. */
export interface Importance {
  /** [L * H] */
  heads: Float64Array;
  /** [L * F] */
  neurons: Float64Array;
}

/**
 * Label-free importance: the mean activation norm over calibration tokens times the norm of the weights that carry it on.
 * It bounds how far the layer's output moves, in the mean, when the head or neuron goes. The output is added to a stream
 * that a LayerNorm has just put on one scale, so these numbers compare over layers as they are.
 * @param sums sums over tokens of the norms of head contexts and of absolute neuron activations
 * @param norms norms of the columns of the attention output and FFN-down projections
 */
export function activationImportance(
  sums: Importance & { numTokens: number },
  norms: Importance,
): Importance {
  const meanTimesNorm = (sum: Float64Array, norm: Float64Array): Float64Array =>
    sum.map((value, idx) => (value / sums.numTokens) * norm[idx]!);
  return {
    heads: meanTimesNorm(sums.heads, norms.heads),
    neurons: meanTimesNorm(sums.neurons, norms.neurons),
  };
}

/**
 * Importance with each layer's heads, and each layer's neurons, divided by their L2 norm, so that layers whose activations
 * are large throughout do not win the global ranking by that alone (paper, section 3). A layer of zeros stays one.
 */
export function normalizePerLayer(importance: Importance, numLayers: number): Importance {
  return {
    heads: normalizeRows(importance.heads, numLayers),
    neurons: normalizeRows(importance.neurons, numLayers),
  };
}

function normalizeRows(values: Float64Array, numLayers: number): Float64Array {
  const width = values.length / numLayers;
  const normalized = new Float64Array(values.length);
  for (let layer = 0; layer < numLayers; ++layer) {
    const row = values.subarray(layer * width, (layer + 1) * width);
    const norm = Math.hypot(...row);
    if (norm > 0)
      normalized.set(
        row.map((value) => value / norm),
        layer * width,
      );
  }
  return normalized;
}

/** @throws ELASTICLM_STRUCTURE_INVALID naming the layer: an order over NaN would be none */
export function checkFinite(importance: Importance, numLayers: number): void {
  for (const values of [importance.heads, importance.neurons]) {
    const idx = values.findIndex((value) => !Number.isFinite(value));
    if (idx < 0) continue;
    throw ElasticError.of('ELASTICLM_STRUCTURE_INVALID', {
      expected: 'finite importance',
      subject: `layer ${Math.floor(idx / (values.length / numLayers))}`,
      received: String(values[idx]),
      remedy: 'The weights or the activations of this checkpoint overflow; it cannot be ranked',
    });
  }
}
