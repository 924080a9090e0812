/**
 * The ids of Hugging Face `tokenizers`, over every text of the collections and over generated ones, at a multiple of its
 * throughput. ELASTICLM_FUZZ_CASES sets how many mutated tokenizer files are tried.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer as Peer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
import type { Tokenizer } from '../../lib/tokenizer/index.js';
import { Random } from '../support/random.js';
import { fuzzTokenizerJson } from '../tokenizer/mutations.js';
import { defaultTokenizerJson, Differential } from '../tokenizer/peer.js';
import { generatePair, generateText } from '../tokenizer/texts.js';
import { dataPath } from './support/data.js';
import { storeResult } from './support/result.js';

// Read by the peer when it makes its threads, with its first batch: throughput is compared thread by thread.
process.env['RAYON_NUM_THREADS'] = '1';

const seed = 20_240_607;
const generatedTexts = 200_000;
const generatedPairs = 50_000;
const fuzzCases = Number(process.env['ELASTICLM_FUZZ_CASES'] ?? 20_000);
const minimumRatio = 1.5;
const rounds = 5;
const batchSize = 256;

const record: Record<string, unknown> = {};

/** Every file of the collections that holds text. */
function dataFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(jsonl|jsonl\.xz|tsv|txt|csv|md)$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

/** A file's texts: the text fields of JSON lines, or the columns of a table, and whole lines of anything else. */
function textsOf(file: string): string[] {
  const content = file.endsWith('.xz')
    ? execFileSync('xz', ['-dc', file], { encoding: 'utf8', maxBuffer: 2 ** 30 })
    : readFileSync(file, 'utf8');
  const lines = content.split('\n');
  if (file.includes('.jsonl')) {
    return lines
      .filter((line) => line !== '')
      .flatMap((line) => Object.values(JSON.parse(line) as Record<string, unknown>))
      .filter((value) => typeof value === 'string');
  }
  return lines.flatMap((line) => [line, ...line.split('\t')]);
}

function* slices<T>(items: readonly T[]): Generator<T[]> {
  for (let begin = 0; begin < items.length; begin += batchSize) yield items.slice(begin, begin + batchSize);
}

/** The first text whose ids differ; two encoders of the same tokenizer. */
async function firstDifference(ours: Tokenizer, peer: Peer, texts: string[]): Promise<string | undefined> {
  for (const batch of slices(texts)) {
    const expected = await peer.encodeBatch(batch);
    for (const [index, text] of batch.entries()) {
      const { inputIds } = ours.encode(text);
      const ids = expected[index]!.getIds();
      if (inputIds.length !== ids.length || inputIds.some((id, position) => id !== ids[position])) {
        return JSON.stringify(text);
      }
    }
  }
  return undefined;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

async function secondsOf(run: () => Promise<void> | void): Promise<number> {
  const begin = performance.now();
  await run();
  return (performance.now() - begin) / 1000;
}

describe('Tokenizer', () => {
  const both = new Differential(defaultTokenizerJson());

  it('gives the ids of tokenizers for every text of the collections', async () => {
    let texts = 0;
    let characters = 0;
    const files = dataFiles(dataPath());
    for (const file of files) {
      const inFile = textsOf(file);
      texts += inFile.length;
      characters += inFile.reduce((sum, text) => sum + text.length, 0);
      expect(await firstDifference(both.ours, both.peer, inFile), file).toBeUndefined();
    }
    record['collections'] = { files: files.length, texts, characters, differences: 0 };
  });

  it('gives the ids, types and offsets of tokenizers for generated texts and pairs', async () => {
    const random = new Random(seed);
    const texts = Array.from({ length: generatedTexts }, () => generateText(random));
    const pairs = Array.from({ length: generatedPairs }, () => generatePair(random));
    expect(await both.differences(texts)).toEqual([]);
    for (const [index, maxLength] of [undefined, 8, 13, 32, 3].entries()) {
      const part = pairs.filter((_, position) => position % 5 === index);
      expect(await both.differences(part, maxLength === undefined ? {} : { maxLength })).toEqual([]);
    }
    record['generated'] = { seed, texts: texts.length, pairs: pairs.length, differences: 0 };
  });

  it('survives mutated tokenizer files', () => {
    record['fuzz'] = { seed, cases: fuzzCases, ...fuzzTokenizerJson(seed, fuzzCases) };
  });

  it(`is at least ${minimumRatio} times as fast as tokenizers on sentences of SciFact, on one thread`, async () => {
    const corpus = readFileSync(dataPath('scifact', 'corpus.jsonl'), 'utf8').trim().split('\n');
    const sentences = corpus.flatMap((line) => {
      const { title, text } = JSON.parse(line) as { title: string; text: string };
      return [title, ...text.split(/(?<=[.?!]) +/)].filter((sentence) => sentence !== '');
    });
    const { ours } = both;
    const peer = Peer.fromString(JSON.stringify(defaultTokenizerJson()));
    const ratios: { one: number; batch: number; ours: number }[] = [];
    for (let round = 0; round <= rounds; round++) {
      const seconds = await secondsOf(() => {
        for (const sentence of sentences) ours.encode(sentence);
      });
      const one = await secondsOf(async () => {
        for (const sentence of sentences) await peer.encode(sentence);
      });
      const batch = await secondsOf(async () => {
        for (const part of slices(sentences)) await peer.encodeBatch(part);
      });
      // The first round warms both up.
      if (round > 0) ratios.push({ one: one / seconds, batch: batch / seconds, ours: seconds });
    }
    const overEncode = median(ratios.map(({ one }) => one));
    const overEncodeBatch = median(ratios.map(({ batch }) => batch));
    record['throughput'] = {
      sentences: sentences.length,
      characters: sentences.reduce((sum, sentence) => sum + sentence.length, 0),
      rounds,
      sentencesPerSecond: Math.round(sentences.length / median(ratios.map(({ ours }) => ours))),
      overEncode: Number(overEncode.toFixed(2)),
      overEncodeBatch: Number(overEncodeBatch.toFixed(2)),
    };
    expect(overEncode).toBeGreaterThanOrEqual(minimumRatio);
    expect(overEncodeBatch).toBeGreaterThanOrEqual(minimumRatio);
    storeResult('tokenizer', record);
  });
});
