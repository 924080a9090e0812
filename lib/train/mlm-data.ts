/** Masked language modelling over any data: some tokens are hidden, and are to be told (BERT, Devlin et al. 2018, section 3.1). */
import { ElasticError } from '../errors.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { PackedBatch } from '../types.js';
import { drawDistinct, uniform } from './draws.js';
import { fingerprint } from './fingerprint.js';
import { mixBits } from './random.js';
import type { DescribedData, TrainBatch } from './types.js';

/** Of the tokens of a text, special ones not counted; at least one. */
const predictedShare = 0.15;
/** Of those: hidden behind [MASK], replaced by a random token; the rest stays. */
const maskShare = 0.8;
const randomShare = 0.1;

interface Vocabulary {
  size: number;
  maskId: number;
  specialIds: ReadonlySet<number>;
}

export class MlmData implements DescribedData {
  readonly #inner: DescribedData;
  readonly #vocabulary: Vocabulary;

  /** @throws ELASTICLM_TOKENIZER_UNSUPPORTED without a mask token */
  constructor(inner: DescribedData, tokenizer: Tokenizer) {
    const { maskId, padId, clsId, sepId, vocabSize } = tokenizer;
    if (maskId === undefined) {
      throw ElasticError.of('ELASTICLM_TOKENIZER_UNSUPPORTED', {
        expected: 'a mask token in the vocabulary',
        subject: 'masked language modelling',
        received: 'none',
      });
    }
    const special = [maskId, padId, clsId, sepId].filter((id) => id !== undefined);
    this.#inner = inner;
    this.#vocabulary = { size: vocabSize, maskId, specialIds: new Set(special) };
  }

  get size(): number {
    return this.#inner.size;
  }

  length(position: number): number {
    return this.#inner.length(position);
  }

  async batch(positions: readonly number[], seed: number): Promise<TrainBatch> {
    const { batch } = await this.#inner.batch(positions, seed);
    return mask(batch, this.#vocabulary, seed);
  }

  async fingerprint(): Promise<string> {
    return fingerprint([Buffer.from(`mlm ${await this.#inner.fingerprint()}`)]);
  }
}

function mask(batch: PackedBatch, vocabulary: Vocabulary, seed: number): TrainBatch {
  const { cuSeqlens } = batch;
  const inputIds = batch.inputIds.slice();
  const mlmLabels = new Int32Array(inputIds.length).fill(-1);
  for (let sequence = 0; sequence + 1 < cuSeqlens.length; ++sequence) {
    const places: number[] = [];
    for (let token = cuSeqlens[sequence]!; token < cuSeqlens[sequence + 1]!; ++token) {
      if (!vocabulary.specialIds.has(inputIds[token]!)) places.push(token);
    }
    const count = Math.max(1, Math.round(predictedShare * places.length));
    for (const place of drawDistinct(places.length, count, mixBits(seed, sequence))) {
      const token = places[place]!;
      mlmLabels[token] = inputIds[token]!;
      const draw = uniform(seed, token, 0);
      if (draw < maskShare) inputIds[token] = vocabulary.maskId;
      else if (draw < maskShare + randomShare)
        inputIds[token] = randomId(vocabulary, mixBits(seed, token, 1));
    }
  }
  return { batch: { ...batch, inputIds }, mlmLabels };
}

/** Any id but a special one. */
function randomId({ size, specialIds }: Vocabulary, bits: number): number {
  let id = bits % size;
  while (specialIds.has(id)) id = (id + 1) % size;
  return id;
}
