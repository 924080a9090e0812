/** MS MARCO's official files, and its metrics over them. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  evaluate,
  evaluateMsMarco,
  readMsMarcoCandidates,
  readMsMarcoCollection,
  readMsMarcoQrels,
  readMsMarcoQueries,
  type EvaluateOptions,
  type EvaluationResult,
} from '../../lib/eval/index.js';
import { ElasticDenser, ElasticRanker } from '../../lib/heads/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { all, DataFolder, tableOf } from '../support/files.js';
import { Random } from '../support/random.js';

const elastic = evenLevels(configOf(), [0.5]);

let checkpoints: DataFolder;
let encoder: string;
let ranker: string;
let folder: DataFolder;

beforeAll(async () => {
  checkpoints = await DataFolder.create();
  encoder = join(checkpoints.path, 'encoder');
  ranker = join(checkpoints.path, 'ranker');
  writeTinyCheckpoint(encoder, { elastic });
  writeTinyCheckpoint(ranker, { elastic, labels: 1 });
});

beforeEach(async () => {
  folder = await DataFolder.create();
});

afterEach(async () => {
  await folder.remove();
});

afterAll(async () => {
  await checkpoints.remove();
});

describe('the readers of MS MARCO', () => {
  it('read the official files, quotes and line ends as they are', async () => {
    await folder.write('collection.tsv', '\uFEFF0\tsays "a" \r\n1\t"b\n');
    expect(await all(readMsMarcoCollection(folder.path))).toEqual([
      { id: '0', text: 'says "a" ' },
      { id: '1', text: '"b' },
    ]);
    await folder.write('queries.dev.small.tsv', '1048585\twhat is paula\'s "sister"\n');
    expect(await all(readMsMarcoQueries(folder.path))).toEqual([
      { id: '1048585', text: 'what is paula\'s "sister"' },
    ]);
    await folder.write('qrels.dev.small.tsv', '7\t0\t12\t1\n7\t0\t13\t1\n8\t0\t12\t0\n');
    expect(await readMsMarcoQrels(folder.path)).toEqual(
      new Map([
        [
          '7',
          new Map([
            ['12', 1],
            ['13', 1],
          ]),
        ],
        ['8', new Map([['12', 0]])],
      ]),
    );
    await folder.write('queries.train.tsv', '5\tx\n');
    expect(await all(readMsMarcoQueries(folder.path, 'train'))).toEqual([{ id: '5', text: 'x' }]);
  });

  it("read the candidates of dev.small from the official file's name", async () => {
    const candidate = { queryId: '7', passageId: '12', query: 'q', passage: 'p' };
    await folder.write('top1000.dev.tsv', '7\t12\tq\tp\n');
    expect(await all(readMsMarcoCandidates(folder.path))).toEqual([candidate]);
    await folder.write('top1000.dev.small.tsv', '8\t12\tq\tp\n');
    expect(await all(readMsMarcoCandidates(folder.path))).toEqual([{ ...candidate, queryId: '8' }]);
  });

  it.each<[string, string, RegExp]>([
    ['collection.tsv', '0\ta\n1\n', /column "text".*line 2/],
    ['collection.tsv', '0\ta\n1\tb\tc\n', /at most 2 cells.*line 2/],
    ['queries.dev.small.tsv', '0\ta\n0\tb\n', /id of its own.*line 2.*"0" again/],
    ['qrels.dev.small.tsv', '7 0 12 1\n', /column "relevance".*line 1.*1 cells/],
    ['qrels.dev.small.tsv', '7\t0\t12\tyes\n', /number in column "relevance".*line 1/],
    ['qrels.dev.small.tsv', '7\t0\t12\t1\n7\t0\t12\t0\n', /relevance 1.*line 2.*received 0/],
    ['top1000.dev.tsv', '7\t12\tq\n', /column "passage".*line 1/],
    ['top1000.dev.tsv', '7\t12\tq\tp\tr\n', /at most 4 cells.*line 1/],
  ])('refuse a wrong line of %s: %j', async (name, content, reason) => {
    await folder.write(name, content);
    const path = folder.path;
    const reads = {
      collection: () => all(readMsMarcoCollection(path)),
      queries: () => all(readMsMarcoQueries(path)),
      qrels: () => readMsMarcoQrels(path),
      top1000: () => all(readMsMarcoCandidates(path)),
    };
    const read = reads[name.split('.')[0] as keyof typeof reads];
    await expectRejection(read(), 'ELASTICLM_DATA_INVALID', reason);
    await folder.remove();
    folder = await DataFolder.create();
  });
});

const words = ['fox', 'dog', 'gene', 'cell', 'river', 'city', 'lazy', 'quick', 'brown', 'jumps'];
const random = new Random(5);

function phrase(): string {
  return Array.from({ length: random.integer(1, 5) }, () => random.pick(words)).join(' ');
}

/** 1 / rank of the first relevant of the best ten, 0 without one: the official script's loop over one query. */
function officialReciprocalRank(ranked: readonly string[], relevant: ReadonlySet<string>): number {
  for (let i = 0; i < 10 && i < ranked.length; ++i) if (relevant.has(ranked[i]!)) return 1 / (i + 1);
  return 0;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Ids by falling score, equal scores in their order. */
function sortedIds(ids: readonly string[], scores: ArrayLike<number>): string[] {
  const order = ids.map((_, idx) => idx).sort((a, b) => scores[b]! - scores[a]! || a - b);
  return order.map((idx) => ids[idx]!);
}

function run(options: Omit<EvaluateOptions, 'data'>): Promise<EvaluationResult[]> {
  return all(evaluate({ data: folder.path, ...options }));
}

describe('evaluate() of msmarco', () => {
  // every tenth passage is there twice under another id, so that scores are equal
  const texts = Array.from({ length: 120 }, phrase);
  const passages = texts.map((text, idx) => ({
    id: `${3 * idx}`,
    text: idx % 10 === 0 ? texts[idx + 1]! : text,
  }));
  // a query begins as a passage does, which is relevant, as are others anywhere
  const queries = Array.from({ length: 9 }, (_, idx) => ({
    id: `q${idx}`,
    text: `${passages[10 * idx]!.text} ${idx % 2 === 0 ? phrase() : ''}`,
  }));
  const relevant = new Map(
    queries.slice(1).map(({ id }, idx) => {
      const others = Array.from({ length: idx % 3 }, () => random.pick(passages).id);
      return [id, new Set([passages[10 * (idx + 1)]!.id, ...others])];
    }),
  );

  beforeEach(async () => {
    await folder.write('collection.tsv', tableOf(passages.map(({ id, text }) => [id, text])));
    await folder.write('queries.dev.small.tsv', tableOf(queries.map(({ id, text }) => [id, text])));
    const judgments = [...relevant].flatMap(([query, ids]) => [...ids].map((id) => [query, 0, id, 1]));
    // judged, and not relevant
    await folder.write('qrels.dev.small.tsv', tableOf([...judgments, ['q1', 0, 'none', 0]]));
  });

  it('gives the official MRR@10, and recall, over the judged queries', async () => {
    const results = await run({ task: 'msmarco', model: encoder, indexLevel: 1 });
    await using denser = await ElasticDenser.load(encoder);
    const documents = await denser.encode(passages.map(({ text }) => text));
    for (const [idx, level] of [1, 0.5].entries()) {
      const asked = queries.slice(1);
      const encoded = await denser.encode(
        asked.map(({ text }) => text),
        { level },
      );
      const { dims } = documents;
      const ranks = asked.map((_, query) => {
        const own = encoded.data.subarray(query * dims, (query + 1) * dims);
        const scores = Float32Array.from(passages, (_, passage) =>
          own.reduce((sum, value, i) => sum + value * documents.data[passage * dims + i]!, 0),
        );
        return sortedIds(
          passages.map(({ id }) => id),
          scores,
        );
      });
      const recall = (k: number): number =>
        mean(
          asked.map(({ id }, query) => {
            const ids = relevant.get(id)!;
            return ranks[query]!.slice(0, k).filter((passage) => ids.has(passage)).length / ids.size;
          }),
        );
      const reciprocalRanks = asked.map(({ id }, query) =>
        officialReciprocalRank(ranks[query]!, relevant.get(id)!),
      );
      expect(results[idx]).toMatchObject({
        task: 'msmarco',
        level,
        indexLevel: 1,
        queries: 8,
        'mrr@10': mean(reciprocalRanks),
        'recall@100': recall(100),
        'recall@1000': 1,
      });
      expect(mean(reciprocalRanks)).toBeGreaterThan(0);
    }
  });

  it('gives the same in parts of any size', async () => {
    await using denser = await ElasticDenser.load(encoder);
    const runs = [120, 119, 7, 1].map(async (documentsPerPart) => {
      const results = await all(evaluateMsMarco({ denser, data: folder.path, documentsPerPart }));
      return results.map((result) => ({ ...result, documentsPerSecond: 0, tokensPerSecond: 0 }));
    });
    const [whole, ...parts] = await Promise.all(runs);
    for (const part of parts) expect(part).toEqual(whole);
  });

  it('reads the whole collection before it encodes anything', async () => {
    await folder.write('collection.tsv', `${tableOf(passages.map(({ id, text }) => [id, text]))}broken\n`);
    const seen: number[] = [];
    await expectRejection(
      run({ task: 'msmarco', model: encoder, onProgress: (done) => seen.push(done) }),
      'ELASTICLM_DATA_INVALID',
      /line 121 of .*collection\.tsv/,
    );
    expect(seen).toEqual([]);
  });

  it('refuses an empty collection, a judged query that is missing and a judged passage that is there twice', async () => {
    const fails = (reason: RegExp): Promise<unknown> =>
      expectRejection(run({ task: 'msmarco', model: encoder }), 'ELASTICLM_DATA_INVALID', reason);
    const [judged] = relevant.get('q1')!;
    await folder.write('collection.tsv', `${judged!}\tfox\n${judged!}\tdog\n`);
    await fails(/each passage once.*"q1".*twice/);
    await folder.write('collection.tsv', '');
    await fails(/at least one document/);
    await folder.write('queries.dev.small.tsv', tableOf([['q0', 'x']]));
    await fails(/judgments of query "q1"/);
    await folder.write('qrels.dev.small.tsv', '');
    await fails(/no judgments/);
  });
});

describe('evaluate() of msmarco-rerank', () => {
  const candidates = Array.from({ length: 70 }, (_, idx) => ({
    query: `${idx % 4}`,
    passage: `${idx}`,
    // equal texts have equal scores
    text: idx % 10 < 2 ? 'quick fox' : phrase(),
  }));
  const queryTexts = ['quick fox', 'lazy dog', 'river city', 'gene of a cell'];
  const judgments = [
    ['0', 0, '40', 1],
    ['1', 0, '5', 1],
    ['1', 0, '69', 1],
    ['2', 0, 'not-a-candidate', 1],
    // query 3 has candidates and no judgment, query 9 a judgment and no candidates
    ['9', 0, '1', 1],
  ];

  beforeEach(async () => {
    const rows = candidates.map(({ query, passage, text }) => [
      query,
      passage,
      queryTexts[Number(query)]!,
      text,
    ]);
    await folder.write('top1000.dev.tsv', tableOf(rows));
    await folder.write('qrels.dev.small.tsv', tableOf(judgments));
  });

  it('gives the official MRR@10 over all queries of the qrels, whose rows may lie apart', async () => {
    const seen: [number, number][] = [];
    const results = await run({
      task: 'msmarco-rerank',
      model: ranker,
      onProgress: (...done) => seen.push(done),
    });
    await using head = await ElasticRanker.load(ranker);
    for (const [idx, level] of [1, 0.5].entries()) {
      const ranks = await Promise.all(
        ['0', '1'].map(async (query) => {
          const own = candidates.filter((candidate) => candidate.query === query);
          const pairs = own.map(({ text }): [string, string] => [queryTexts[Number(query)]!, text]);
          const scores = await head.score(pairs, { level, activation: 'identity' });
          return sortedIds(
            own.map(({ passage }) => passage),
            scores,
          );
        }),
      );
      const sum =
        officialReciprocalRank(ranks[0]!, new Set(['40'])) +
        officialReciprocalRank(ranks[1]!, new Set(['5', '69']));
      expect(results[idx]).toEqual({
        task: 'msmarco-rerank',
        level,
        queries: 4,
        'mrr@10': sum / 4,
        'recall@100': 2 / 4,
        'recall@1000': 2 / 4,
      });
      expect(sum).toBeGreaterThan(0);
    }
    // three of four queries are judged: 18 + 18 + 17 candidates
    expect(seen).toEqual([
      [53, 106],
      [106, 106],
    ]);
  });

  it('refuses a relevant passage twice, no candidate of a judged query, and another head', async () => {
    const fails = (reason: RegExp): Promise<unknown> =>
      expectRejection(run({ task: 'msmarco-rerank', model: ranker }), 'ELASTICLM_DATA_INVALID', reason);
    await folder.write('top1000.dev.tsv', tableOf([...Array<string[]>(2).fill(['0', '40', 'q', 'p'])]));
    await fails(/each passage once.*"0".*"40" twice/);
    await folder.write('top1000.dev.tsv', tableOf([['3', '1', 'q', 'p']]));
    await fails(/at least one candidate of a judged query/);
    await expectRejection(run({ task: 'msmarco-rerank', model: encoder }), 'ELASTICLM_HEAD_MISSING');
    await expectRejection(
      run({ task: 'msmarco-rerank', model: ranker, indexLevel: 1 }),
      'ELASTICLM_ARGUMENT_INVALID',
      /indexLevel/,
    );
  });
});
