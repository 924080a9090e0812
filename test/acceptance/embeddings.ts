/** The default model's vectors of real sentences against the same encoder written anew in float64. */
import { describe, expect, it } from 'vitest';
import { ElasticDenser, Tokenizer, type Level } from '../../lib/index.js';
import { worstElement } from '../support/compare.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { range, ReferenceEncoder, type KeptParts } from '../support/reference-encoder.js';
import { queryTexts } from './support/data.js';
import { elasticDefaultModel } from './support/elastic-checkpoint.js';
import { storeResult } from './support/result.js';

const maxLength = 256;
const calibrationExamples = 64;
/** Sentences of each collection: the scalar reference takes a fifth of a second for one. */
const sentencesAtLevelOne = 150;
const sentencesAtOtherLevels = 30;
/** For the tolerance: the same reference rounding every operation to f32, several times slower. */
const sentencesOfTheBound = 10;
const minCosine = 0.999999;
/** The house rule: no worse than twice the most naive computation in the same precision. */
const boundOverNaive = 2;

interface Agreement {
  level: number;
  sentences: number;
  tokens: number;
  worstCosine: number;
  worstError: number;
  bound: number;
}

async function sentences(perCollection: number): Promise<string[]> {
  const texts = await Promise.all(['scifact', 'cranfield'].map(queryTexts));
  return texts.flatMap((list) => list.slice(0, perCollection));
}

function keptBy(level: Level): KeptParts {
  return { heads: level.heads.map(range), neurons: level.neurons.map(range) };
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>): number =>
    Array.from(x).reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** Vectors of both in float64 and what the library gives for them, sentence by sentence. */
async function compare(
  directory: string,
  denser: ElasticDenser,
  level: Level,
  texts: string[],
): Promise<Agreement> {
  const tokenizer = await Tokenizer.load(directory);
  const exact = ReferenceEncoder.load(directory);
  const naive = exact.in('f32');
  const kept = keptBy(level);
  const { data, dims, totalTokens } = await denser.encode(texts, { level: level.level, maxLength });
  const agreement = {
    level: level.level,
    sentences: texts.length,
    tokens: totalTokens,
    worstCosine: 1,
    worstError: 0,
  };
  let naiveError = 0;
  for (const [i, text] of texts.entries()) {
    const input = tokenizer.encode(text, { maxLength });
    const expected = exact.pool(exact.hidden(input, kept), 'mean', true);
    const received = data.subarray(i * dims, (i + 1) * dims);
    agreement.worstCosine = Math.min(agreement.worstCosine, cosine(received, expected));
    agreement.worstError = Math.max(agreement.worstError, worstElement(received, expected).error);
    if (i % Math.ceil(texts.length / sentencesOfTheBound) !== 0) continue;
    const rounded = naive.pool(naive.hidden(input, kept), 'mean', true);
    naiveError = Math.max(naiveError, worstElement(rounded, expected).error);
  }
  return { ...agreement, bound: boundOverNaive * naiveError };
}

function check({ level, worstCosine, worstError, bound }: Agreement): void {
  expect(worstCosine, `worst cosine at level ${level}`).toBeGreaterThanOrEqual(minCosine);
  expect(worstError, `worst element at level ${level}`).toBeLessThanOrEqual(bound);
}

describe('ElasticDenser.encode() against float64', () => {
  const passed: Agreement[] = [];

  it('begins the published example as published', async () => {
    await using denser = await ElasticDenser.load(defaultModelDirectory());
    const { data } = await denser.encode(['This is an example sentence']);
    const begin = Array.from(data.subarray(0, 3), (value) => value.toFixed(5));
    expect(begin).toEqual(['0.06766', '0.06356', '0.04873']);
  });

  it('gives the same vectors at level 1', async () => {
    const directory = defaultModelDirectory();
    await using denser = await ElasticDenser.load(directory);
    const whole = denser.model.levels[0]!;
    const agreement = await compare(directory, denser, whole, await sentences(sentencesAtLevelOne));
    check(agreement);
    passed.push(agreement);
  });

  it('gives the same vectors at every level of an elastic checkpoint', async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    await using denser = await ElasticDenser.load(checkpoint.directory);
    const texts = await sentences(sentencesAtOtherLevels);
    for (const level of denser.model.levels) {
      const agreement = await compare(checkpoint.directory, denser, level, texts);
      check(agreement);
      passed.push(agreement);
    }
    storeResult('embeddings', {
      collections: ['scifact', 'cranfield'],
      minCosine,
      boundOverNaive,
      agreements: passed,
    });
  });
});
