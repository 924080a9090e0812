import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  evaluate,
  evaluateRetrieval,
  pearson,
  spearman,
  type EvaluateOptions,
  type EvaluationResult,
  type EvaluationTask,
  type RetrievalOptions,
  type RetrievalResult,
} from '../../lib/eval/index.js';
import { ElasticClassifier, ElasticDenser, ElasticRanker } from '../../lib/heads/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';

const elastic = evenLevels(configOf(), [0.5]);
const words = ['fox', 'dog', 'gene', 'cell', 'river', 'city', 'lazy', 'quick'];

let folder: string;
let data: string;
/** checkpoints by the number of their labels */
let models: Record<0 | 1 | 2 | 3, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-evaluate-'));
  const write = (name: string, labels?: number): string => {
    const directory = join(folder, name);
    writeTinyCheckpoint(directory, { elastic, ...(labels === undefined ? {} : { labels }) });
    return directory;
  };
  models = { 0: write('plain'), 1: write('one', 1), 2: write('two', 2), 3: write('three', 3) };
});

beforeEach(async () => {
  data = await mkdtemp(join(folder, 'data-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function write(name: string, lines: readonly string[]): Promise<void> {
  const path = join(data, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, lines.map((line) => `${line}\n`).join(''));
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function run(
  task: EvaluationTask,
  model: string,
  options: Partial<EvaluateOptions> = {},
): Promise<EvaluationResult[]> {
  return all(evaluate({ task, model, data, ...options }));
}

/** Each word is a document and a query, which asks for its own document: ids of queries and documents coincide. */
async function writeWords(judged: readonly string[] = words): Promise<void> {
  await write(
    'corpus.jsonl',
    words.map((text) => JSON.stringify({ _id: text, title: '', text })),
  );
  await write(
    'queries.jsonl',
    [...words, 'never judged'].map((text) => JSON.stringify({ _id: text, text })),
  );
  await write('qrels/test.tsv', [
    'query-id\tcorpus-id\tscore',
    ...judged.map((word) => `${word}\t${word}\t1`),
  ]);
}

describe('evaluateRetrieval()', () => {
  async function retrieval(options: Partial<RetrievalOptions> = {}): Promise<RetrievalResult[]> {
    await using denser = await ElasticDenser.load(models[0]);
    return await all(evaluateRetrieval({ denser, data, ...options }));
  }

  it('finds, at every level, documents that are their own queries', async () => {
    await writeWords();
    const seen: [number, number][] = [];
    const results = await retrieval({ onProgress: (done, total) => seen.push([done, total]) });
    expect(results.map(({ level, indexLevel }) => [level, indexLevel])).toEqual([
      [1, 1],
      [0.5, 0.5],
    ]);
    for (const result of results) {
      expect(result).toMatchObject({
        task: 'retrieval',
        queries: 8,
        'ndcg@10': 1,
        'mrr@10': 1,
        'recall@100': 1,
      });
      expect(result.documentsPerSecond).toBeGreaterThan(0);
      // every document is [CLS] word [SEP]
      expect(result.tokensPerSecond / result.documentsPerSecond).toBeCloseTo(3, 10);
    }
    expect(seen).toEqual([
      [8, 16],
      [16, 16],
    ]);
  });

  it('scores all levels against one index when told to', async () => {
    await writeWords();
    const builds: number[] = [];
    const results = await retrieval({ indexLevel: 1, onProgress: (done) => builds.push(done) });
    expect(results.map(({ level, indexLevel }) => [level, indexLevel])).toEqual([
      [1, 1],
      [0.5, 1],
    ]);
    expect(builds).toEqual([8]);
  });

  it('averages over judged queries alone', async () => {
    await writeWords(words.slice(0, 3));
    const [result] = await retrieval({ levels: [1] });
    expect(result!.queries).toBe(3);
  });

  it('leaves out documents with the id of the query when told to', async () => {
    await writeWords();
    const [result] = await retrieval({ levels: [1], ignoreIdenticalIds: true });
    expect(result).toMatchObject({ 'ndcg@10': 0, 'mrr@10': 0, 'recall@100': 0 });
  });

  it('refuses judgments of unknown queries, no judgments, and unknown levels, before it encodes anything', async () => {
    await writeWords(['fox', 'unicorn']);
    await expectRejection(retrieval(), 'ELASTICLM_DATA_INVALID', /unicorn/);
    await writeWords([]);
    await expectRejection(retrieval(), 'ELASTICLM_DATA_INVALID', /no judgments/);
    await expectRejection(retrieval({ levels: [0.3] }), 'ELASTICLM_LEVEL_UNKNOWN', /0\.3/);
    await expectRejection(retrieval({ split: 'dev' }), 'ELASTICLM_FILE_NOT_FOUND', /dev\.tsv/);
  });
});

describe('evaluate() of sts and stsb', () => {
  const pairs = [
    ['the quick fox', 'a quick fox', 5],
    ['the gene', 'a cell', 3],
    ['river', 'the lazy dog jumps', 0.5],
    ['city', 'city', 5],
  ] as const;

  beforeEach(async () => {
    const rows = pairs.map((row) => row.join('\t'));
    await write('dev.tsv', ['sentence1\tsentence2\tscore', ...rows]);
  });

  it('correlates cosines of vectors with scores', async () => {
    const results = await run('sts', models[0]);
    expect(results.map(({ task, level }) => [task, level])).toEqual([
      ['sts', 1],
      ['sts', 0.5],
    ]);
    await using denser = await ElasticDenser.load(models[0]);
    const cosines = await Promise.all(
      pairs.map(async ([a, b]) => {
        const { data, dims } = await denser.encode([a, b]);
        return data.subarray(0, dims).reduce((sum, value, i) => sum + value * data[dims + i]!, 0);
      }),
    );
    const scores = pairs.map(([, , score]) => score);
    expect(results[0]).toMatchObject({ examples: 4, spearman: spearman(cosines, scores) });
    // vectors have length 1 up to the rounding of f32
    expect((results[0] as { pearson: number }).pearson).toBeCloseTo(pearson(cosines, scores), 6);
  });

  it('correlates the logits of a one-label model with scores', async () => {
    const [result] = await run('stsb', models[1], { levels: [0.5] });
    await using ranker = await ElasticRanker.load(models[1]);
    const texts = pairs.map(([a, b]) => [a, b] as const);
    const logits = await ranker.score(texts, { level: 0.5, activation: 'identity' });
    const scores = pairs.map(([, , score]) => score);
    expect(result).toEqual({
      task: 'stsb',
      level: 0.5,
      examples: 4,
      pearson: pearson(logits, scores),
      spearman: spearman(logits, scores),
    });
  });
});

describe('evaluate() of classification', () => {
  it("scores a classifier's labels by their position, and by their names where they are the official ones", async () => {
    await write('dev.tsv', ['sentence\tlabel', ...words.map((word, idx) => `${word}\t${idx % 2}`)]);
    await using classifier = await ElasticClassifier.load(models[2]);
    const found = await classifier.classify(words);
    const agreeing = found.filter(({ label }, idx) => label === `label-${idx % 2}`).length;
    const [byPosition] = await run('sst2', models[2]);
    expect(byPosition).toEqual({ task: 'sst2', level: 1, examples: 8, accuracy: agreeing / 8 });

    const swapped = join(folder, 'swapped');
    const config = { id2label: { 0: 'POSITIVE', 1: 'NEGATIVE' }, label2id: { POSITIVE: 0, NEGATIVE: 1 } };
    writeTinyCheckpoint(swapped, { labels: 2, elastic, config });
    const [byName] = await run('sst2', swapped);
    expect(byName).toMatchObject({ accuracy: 1 - agreeing / 8 });
  });

  it('gives the official metrics of each task', async () => {
    await write('msr_paraphrase_test.txt', ['Quality\t#1 String\t#2 String', '1\tfox\tdog', '0\tcell\tcity']);
    expect(Object.keys((await run('mrpc', models[2]))[0]!)).toEqual([
      'task',
      'level',
      'examples',
      'accuracy',
      'f1',
    ]);
    await write('dev.tsv', ['s\t1\t\tfox', 's\t0\t*\tcell dog']);
    expect(Object.keys((await run('cola', models[2]))[0]!)).toEqual([
      'task',
      'level',
      'examples',
      'matthews',
    ]);
  });

  it('refuses a model with another head', async () => {
    await write('dev.tsv', ['sentence\tlabel', 'fox\t1']);
    await expectRejection(run('sst2', models[0]), 'ELASTICLM_HEAD_MISSING');
    await expectRejection(run('sst2', models[3]), 'ELASTICLM_HEAD_MISSING', /2 labels for sst2/);
    await expectRejection(run('stsb', models[2]), 'ELASTICLM_HEAD_MISSING');
  });
});

describe('evaluate() of wikiqa', () => {
  it('averages precision and reciprocal rank over the questions that have an answer', async () => {
    const candidates = words.slice(2);
    await using ranker = await ElasticRanker.load(models[1]);
    const ranking = await ranker.rank('quick fox', candidates);
    const [first, second, third] = ranking.map(({ index }) => index);
    expect([first, second, third]).not.toContain(undefined);
    const answers = new Set([second, third]);
    await write('dev.tsv', [
      'question\tsentence\tlabel',
      ...candidates.map((sentence, idx) => `quick fox\t${sentence}\t${answers.has(idx) ? 1 : 0}`),
      'no answer\tfox\t0',
    ]);
    const [result] = await run('wikiqa', models[1]);
    const expected = { task: 'wikiqa', level: 1, questions: 1, map: (1 / 2 + 2 / 3) / 2, mrr: 1 / 2 };
    expect(result).toEqual(expected);
  });
});

describe('evaluate()', () => {
  it('refuses unknown tasks and options that the task does not have', async () => {
    const task = 'squad' as EvaluationTask;
    await expectRejection(run(task, models[0]), 'ELASTICLM_ARGUMENT_INVALID', /retrieval, sts/);
    await expectRejection(
      run('sts', models[0], { indexLevel: 1 }),
      'ELASTICLM_ARGUMENT_INVALID',
      /indexLevel/,
    );
  });
});
