/** The same text at the same level gives the same bits, whatever else is in the batch and however many threads run. */
import { describe, expect, it } from 'vitest';
import { ElasticModel, packBatch, Tokenizer, type Encoding } from '../../lib/index.js';
import { Random } from '../support/random.js';
import { documentTexts, queryTexts } from './support/data.js';
import { acceptanceLevels, elasticDefaultModel } from './support/elastic-checkpoint.js';
import { storeResult } from './support/result.js';

const seed = 20_240_701;
const calibrationExamples = 64;
const trials = 10_000;
const threadCounts = [1, 2];
/** Most batches are small, so that many can be tried; one in `largeEvery` fills several blocks of rows. */
const smallBatch = 6;
const largeBatch = 48;
const largeEvery = 50;
const shortTexts = 300;
const longTexts = 20;
/** Tokens of short and long sequences: around the 128 rows of a block as well as far below. */
const shortLength = 12;
const longLength = 160;

const outputs = ['hidden', 'pooled'] as const;
type Output = (typeof outputs)[number];

interface Item {
  encoding: Encoding;
  /** where the item's results alone are kept */
  key: string;
  level: number;
}

/** Every item's result alone, on one thread: what all others must equal. */
class Alone {
  readonly #model: ElasticModel;
  readonly #results = new Map<string, Uint32Array>();

  constructor(model: ElasticModel) {
    this.#model = model;
  }

  async bits({ encoding, key, level }: Item, output: Output): Promise<Uint32Array> {
    const name = `${key} ${level} ${output}`;
    const known = this.#results.get(name);
    if (known !== undefined) return known;
    const { data } = await this.#model.forward(packBatch([encoding]), { level, output });
    const bits = bitsOf(data);
    this.#results.set(name, bits);
    return bits;
  }
}

function bitsOf(data: Float32Array): Uint32Array {
  return new Uint32Array(data.buffer, data.byteOffset, data.length);
}

function firstDifference(received: Uint32Array, expected: Uint32Array): number {
  if (received.length !== expected.length) return Math.min(received.length, expected.length);
  return received.findIndex((value, i) => value !== expected[i]);
}

async function makeItems(directory: string): Promise<{ encoding: Encoding; key: string }[]> {
  const tokenizer = await Tokenizer.load(directory);
  const random = new Random(seed);
  const items: { encoding: Encoding; key: string }[] = [];
  const add = (texts: string[], longest: number): void => {
    for (const text of texts) {
      const maxLength = random.integer(3, longest);
      items.push({ encoding: tokenizer.encode(text, { maxLength }), key: String(items.length) });
    }
  };
  add((await queryTexts('scifact')).slice(0, shortTexts), shortLength);
  add(await documentTexts('scifact', longTexts), longLength);
  return items;
}

describe('a text at a level', () => {
  it(`has the same bits alone and in ${trials} random batches of mixed levels, on one and two threads`, async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    const items = await makeItems(checkpoint.directory);
    const random = new Random(seed + 1);
    const models = await Promise.all(
      threadCounts.map((threads) => ElasticModel.load(checkpoint.directory, { threads })),
    );
    const alone = new Alone(models[0]!);
    let compared = 0;
    for (let trial = 0; trial < trials; ++trial) {
      const output = random.pick(outputs);
      const isLarge = trial % largeEvery === 0;
      const size = random.integer(1, isLarge ? largeBatch : smallBatch);
      const pool = isLarge ? items : items.slice(0, shortTexts);
      const batch = Array.from({ length: size }, (): Item => ({
        ...random.pick(pool),
        level: random.pick(acceptanceLevels),
      }));
      const model = models[trial % models.length]!;
      const { data, dims } = await model.forward(packBatch(batch.map(({ encoding }) => encoding)), {
        level: batch.map(({ level }) => level),
        output,
      });
      let begin = 0;
      for (const [place, item] of batch.entries()) {
        const rows = output === 'hidden' ? item.encoding.inputIds.length : 1;
        const received = bitsOf(data.subarray(begin, begin + rows * dims));
        begin += rows * dims;
        const difference = firstDifference(received, await alone.bits(item, output));
        const where = `trial ${trial}, ${output}, sequence ${place} of ${size}, level ${item.level}`;
        if (difference >= 0) expect.fail(`other bits at element ${difference}: ${where}, seed ${seed}`);
        compared += 1;
      }
    }
    await Promise.all(models.map((model) => model.close()));
    storeResult('identity', {
      seed,
      trials,
      compared,
      differences: 0,
      levels: acceptanceLevels,
      threadCounts,
    });
  });
});
