import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  evaluate,
  evaluateAnswers,
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
import { configOf, evenLevels, writeTinyCheckpoint, type TinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { all, DataFolder, tableOf } from '../support/files.js';
import { Random } from '../support/random.js';

const elastic = evenLevels(configOf(), [0.5]);
const words = ['fox', 'dog', 'gene', 'cell', 'river', 'city', 'lazy', 'quick'];

let checkpoints: DataFolder;
let folder: DataFolder;
let data: string;
/** checkpoints by the number of their labels */
let models: Record<0 | 1 | 2 | 3, string>;

beforeAll(async () => {
  checkpoints = await DataFolder.create();
  const write = (name: string, labels?: number): string => {
    const directory = join(checkpoints.path, name);
    writeTinyCheckpoint(directory, { elastic, ...(labels === undefined ? {} : { labels }) });
    return directory;
  };
  models = { 0: write('plain'), 1: write('one', 1), 2: write('two', 2), 3: write('three', 3) };
});

beforeEach(async () => {
  folder = await DataFolder.create();
  data = folder.path;
});

afterEach(async () => {
  await folder.remove();
});

afterAll(async () => {
  await checkpoints.remove();
});

function write(name: string, lines: readonly string[]): Promise<void> {
  return folder.write(name, lines.map((line) => `${line}\n`).join(''));
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

  it("searches another model's index when told to", async () => {
    await writeWords();
    const load = (name: string, options: TinyCheckpoint): Promise<ElasticDenser> => {
      const directory = join(checkpoints.path, name);
      writeTinyCheckpoint(directory, options);
      return ElasticDenser.load(directory);
    };
    await using other = await load('other', { seed: 2 });
    const results = await retrieval({ indexDenser: other });
    expect(results.map(({ level, indexLevel }) => [level, indexLevel])).toEqual([
      [1, 1],
      [0.5, 1],
    ]);
    expect(results[0]!['ndcg@10']).toBeLessThan(1);
    await using wide = await load('wide', { heads: 8 });
    await expectRejection(
      retrieval({ indexDenser: wide }),
      'ELASTICLM_ARGUMENT_INVALID',
      /the model of the index/,
    );
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

    const swapped = join(checkpoints.path, 'swapped');
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

  it("gives MNLI's accuracy on matched and mismatched examples", async () => {
    const labels = ['entailment', 'neutral', 'contradiction'];
    const header = 'index\tsentence1\tsentence2\tgold_label';
    const matched = words.map((word, idx) => `${idx}\t${word}\tfox\t${labels[idx % 3]!}`);
    const mismatched = words
      .slice(0, 5)
      .map((word, idx) => `${idx}\t${word}\tdog\t${labels[(idx + 1) % 3]!}`);
    await write('dev_matched.tsv', [header, ...matched]);
    await write('dev_mismatched.tsv', [header, ...mismatched]);
    await using classifier = await ElasticClassifier.load(models[3]);
    const right = async (count: number, second: string, shift: number): Promise<number> => {
      const pairs = words.slice(0, count).map((word) => [word, second] as const);
      const found = await classifier.classify(pairs, { level: 0.5 });
      return found.filter(({ label }, idx) => label === `label-${(idx + shift) % 3}`).length;
    };
    const [result] = await run('mnli', models[3], { levels: [0.5] });
    expect(result).toEqual({
      task: 'mnli',
      level: 0.5,
      examples: 8,
      examplesMismatched: 5,
      accuracy: (await right(8, 'fox', 0)) / 8,
      accuracyMismatched: (await right(5, 'dog', 1)) / 5,
    });
    const [alone] = await run('mnli', models[3], { levels: [0.5], split: 'dev_mismatched' });
    expect(alone).toEqual({
      task: 'mnli',
      level: 0.5,
      examples: 5,
      accuracy: result!['accuracyMismatched' as keyof EvaluationResult],
    });
  });

  it('refuses a split without examples', async () => {
    await write('dev.tsv', ['sentence\tlabel']);
    await expectRejection(run('sst2', models[2]), 'ELASTICLM_DATA_INVALID', /at least one example of dev/);
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

describe('evaluate() of nq and triviaqa', () => {
  const random = new Random(11);
  const phrase = (): string =>
    Array.from({ length: random.integer(1, 6) }, () => random.pick(words)).join(' ');
  const passages = Array.from({ length: 300 }, () => ({ title: phrase(), text: phrase() }));
  const questions = Array.from({ length: 40 }, (_, idx) => ({
    question: phrase(),
    // of five or six words, so that not every question is answered by the best hundred
    answers: idx % 7 === 0 ? ['', 'nowhere'] : [random.pick(passages).text.toUpperCase(), 'nowhere'],
  }));

  beforeEach(async () => {
    const rows = passages.map(({ title, text }, idx) => [idx + 1, `"${text}"`, title]);
    await folder.write('psgs_w100.tsv', tableOf([['id', 'text', 'title'], ...rows]));
  });

  /** The share of questions with an answer among the best `k` passages, word by word. */
  async function answerRecall(level: number, k: number): Promise<number> {
    await using denser = await ElasticDenser.load(models[0]);
    const { data: vectors, dims } = await denser.encode(
      passages.map(({ title, text }) => `${title} ${text}`),
    );
    const encoded = await denser.encode(
      questions.map(({ question }) => question),
      { level },
    );
    const answered = questions.filter(({ answers }, query) => {
      const own = encoded.data.subarray(query * dims, (query + 1) * dims);
      const scores = passages.map((_, idx) =>
        own.reduce((sum, value, i) => sum + value * vectors[idx * dims + i]!, 0),
      );
      const best = passages.map((_, idx) => idx).sort((a, b) => scores[b]! - scores[a]! || a - b);
      return best
        .slice(0, k)
        .some((idx) =>
          answers.some(
            (answer) => answer !== '' && ` ${passages[idx]!.text} `.includes(` ${answer.toLowerCase()} `),
          ),
        );
    });
    return answered.length / questions.length;
  }

  it.each(['nq', 'triviaqa'] as const)('%s: an answer among the best 20 and 100 passages', async (task) => {
    await (task === 'nq'
      ? write(
          'NQ-open.dev.jsonl',
          questions.map(({ question, answers }) => JSON.stringify({ question, answer: answers })),
        )
      : folder.write(
          'unfiltered-web-dev.json',
          JSON.stringify({
            Data: questions.map(({ question, answers: [Value, ...Aliases] }) => ({
              Question: question,
              Answer: { Value, Aliases },
            })),
          }),
        ));
    const results = await run(task, models[0], { split: 'dev', indexLevel: 1 });
    for (const [idx, level] of [1, 0.5].entries()) {
      const [best20, best100] = [await answerRecall(level, 20), await answerRecall(level, 100)];
      expect(results[idx]).toMatchObject({
        task,
        level,
        indexLevel: 1,
        queries: 40,
        'answerRecall@20': best20,
        'answerRecall@100': best100,
      });
      expect(0 < best20 && best20 < best100 && best100 < 1).toBe(true);
    }
  });

  it('gives the same in parts of any size', async () => {
    await write(
      'nq-test.qa.csv',
      questions.map(
        ({ question, answers }) => `${question}\t${JSON.stringify(answers).replaceAll('"', "'")}`,
      ),
    );
    await using denser = await ElasticDenser.load(models[0]);
    const runs = [300, 64, 1].map(async (documentsPerPart) => {
      const results = await all(evaluateAnswers({ task: 'nq', denser, data, documentsPerPart }));
      return results.map((result) => [result['answerRecall@20'], result['answerRecall@100']]);
    });
    const [whole, ...parts] = await Promise.all(runs);
    for (const part of parts) expect(part).toEqual(whole);
  });

  it('refuses a file without questions', async () => {
    await folder.write('nq-test.qa.csv', '');
    await expectRejection(run('nq', models[0]), 'ELASTICLM_DATA_INVALID', /at least one question/);
  });
});

describe('evaluate()', () => {
  it('refuses unknown tasks and options that the task does not have', async () => {
    const task = 'squad' as EvaluationTask;
    await expectRejection(run(task, models[0]), 'ELASTICLM_ARGUMENT_INVALID', /retrieval, nq/);
    await expectRejection(
      run('sts', models[0], { indexLevel: 1 }),
      'ELASTICLM_ARGUMENT_INVALID',
      /indexLevel/,
    );
  });
});
