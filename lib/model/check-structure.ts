/** The rules of an explicit SubLM. */
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, Structure } from '../types.js';

/** Neurons are listed in blocks of this many; see KeptNeurons. */
const neuronBlock = 16;

/** @throws ELASTICLM_STRUCTURE_INVALID naming the layer and the first offending entry */
export function checkStructure(structure: Structure, config: EncoderConfig): void {
  const given: unknown = structure;
  if (typeof given !== 'object' || given === null) {
    fail('options.structure', 'an object with heads and neurons', given);
  }
  const { numLayers, numHeads, intermediateSize } = config;
  const numBlocks = Math.ceil(intermediateSize / neuronBlock);
  checkLayers(structure.heads, 'options.structure.heads', { numLayers, counts: numHeads, places: numHeads });
  checkLayers(structure.neurons, 'options.structure.neurons', {
    numLayers,
    counts: intermediateSize,
    places: numBlocks,
  });
}

interface Limits {
  numLayers: number;
  /** the largest count */
  counts: number;
  /** listed positions are below this */
  places: number;
}

function checkLayers(layers: unknown, field: string, limits: Limits): void {
  if (!Array.isArray(layers) || layers.length !== limits.numLayers) {
    fail(field, `an array with one entry for each of ${limits.numLayers} layers`, layers);
  }
  for (const [layer, kept] of (layers as unknown[]).entries()) {
    const place = `${field}[${layer}]`;
    if (Array.isArray(kept)) checkList(kept, place, limits.places);
    else if (!isWholeBelow(kept, limits.counts + 1)) {
      fail(place, `a count from 0 to ${limits.counts} or a list of positions`, kept);
    }
  }
}

function checkList(list: readonly unknown[], field: string, places: number): void {
  let previous = -1;
  for (const [entry, position] of list.entries()) {
    if (!isWholeBelow(position, places) || position <= previous) {
      fail(`${field}[${entry}]`, `a position above ${previous} and below ${places}`, position);
    }
    previous = position;
  }
}

function isWholeBelow(value: unknown, bound: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < bound;
}

function fail(subject: string, expected: string, value: unknown): never {
  throw ElasticError.of('ELASTICLM_STRUCTURE_INVALID', { expected, subject, received: describeValue(value) });
}
