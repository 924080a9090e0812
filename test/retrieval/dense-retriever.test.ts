import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticDenser, ElasticRanker } from '../../lib/heads/index.js';
import { DenseRetriever, retrieveThenRerank, VectorIndex, type Hit } from '../../lib/retrieval/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

const words = ['fox', 'dog', 'gene', 'cell', 'river', 'city', 'lazy', 'quick', 'jumps', 'brown'];

let folder: string;
let denser: ElasticDenser;
let ranker: ElasticRanker;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-retriever-'));
  const elastic = evenLevels(configOf(), [0.5]);
  writeTinyCheckpoint(join(folder, 'denser'), { elastic });
  writeTinyCheckpoint(join(folder, 'ranker'), { elastic, labels: 1, seed: 2 });
  denser = await ElasticDenser.load(join(folder, 'denser'));
  ranker = await ElasticRanker.load(join(folder, 'ranker'));
});

afterAll(async () => {
  await Promise.all([denser.close(), ranker.close()]);
  await rm(folder, { recursive: true });
});

function makeDocuments(count: number): { id: string; text: string }[] {
  const random = new Random(1);
  return Array.from({ length: count }, (_, idx) => ({
    id: `d${idx}`,
    text: Array.from({ length: random.integer(1, 8) }, () => random.pick(words)).join(' '),
  }));
}

describe('DenseRetriever', () => {
  it('indexes a stream in parts, and finds at any level what vectors compared by hand give', async () => {
    const documents = makeDocuments(1100); // three parts
    async function* stream(): AsyncGenerator<{ id: string; text: string }> {
      for (const document of documents) {
        await Promise.resolve();
        yield document;
      }
    }
    const progress: number[] = [];
    await using retriever = await DenseRetriever.build(denser, stream(), {
      onProgress: ({ documents: done }) => progress.push(done),
    });
    expect(progress).toEqual([512, 1024, 1100]);
    const { data: vectors, dims } = await denser.encode(documents.map(({ text }) => text));
    await using index = await VectorIndex.from({ ids: documents.map(({ id }) => id), vectors, dims });
    for (const level of [1, 0.5]) {
      const queries = ['quick fox', 'gene of a cell'];
      const encoded = await denser.encode(queries, { level });
      expect(await retriever.retrieve(queries, { level, topK: 5 })).toEqual(
        await index.search(encoded.data, { topK: 5 }),
      );
    }
  });

  it('keeps the index in a file when given a path', async () => {
    const documents = makeDocuments(700);
    const path = join(folder, 'docs.idx');
    await using inFile = await DenseRetriever.build(denser, documents, { path, level: 0.5 });
    await using inMemory = await DenseRetriever.build(denser, documents, { level: 0.5 });
    const expected = await inMemory.retrieve('lazy dog');
    expect(await inFile.retrieve('lazy dog')).toEqual(expected);
    await using reopened = new DenseRetriever(denser, await VectorIndex.open(path));
    expect(await reopened.retrieve('lazy dog')).toEqual(expected);
  });

  it('leaves no file behind when a document fails', async () => {
    async function* failing(): AsyncGenerator<{ id: string; text: string }> {
      yield* makeDocuments(600);
      await Promise.resolve();
      throw new Error('source gone');
    }
    const before = await readdir(folder);
    const build = DenseRetriever.build(denser, failing(), { path: join(folder, 'half.idx') });
    await expect(build).rejects.toThrow('source gone');
    expect(await readdir(folder)).toEqual(before);
  });

  it('answers from nothing with nothing', async () => {
    await using retriever = await DenseRetriever.build(denser, []);
    expect(await retriever.retrieve('fox')).toEqual([[]]);
  });

  it('refuses an index of another width', async () => {
    await using index = await VectorIndex.from({ ids: ['a'], vectors: new Float32Array(3), dims: 3 });
    await expectRejection(
      Promise.resolve().then(() => new DenseRetriever(denser, index)),
      'ELASTICLM_ARGUMENT_INVALID',
      /3 dims/,
    );
  });
});

describe('retrieveThenRerank()', () => {
  it("orders the index's candidates by the ranker's scores", async () => {
    const documents = makeDocuments(50);
    const textOf = ({ index }: Hit): string => documents[index]!.text;
    await using retriever = await DenseRetriever.build(denser, documents);
    const query = 'quick brown fox';
    const found = await retrieveThenRerank(query, { retriever, ranker, textOf, candidates: 8, topK: 3 });
    const [candidates] = await retriever.retrieve(query, { topK: 8 });
    const ranking = await ranker.rank(query, candidates!.map(textOf), { topK: 3 });
    expect(found).toEqual(
      ranking.map(({ index, score }) => ({
        ...candidates![index]!,
        score,
        retrievalScore: candidates![index]!.score,
      })),
    );
  });

  it('runs each stage at its own level, and passes on what textOf throws', async () => {
    const documents = makeDocuments(20);
    await using retriever = await DenseRetriever.build(denser, documents);
    const stages = { retriever, ranker, retrieveLevel: 0.5, rankLevel: 0.5 };
    const textOf = ({ index }: Hit): Promise<string> => Promise.resolve(documents[index]!.text);
    expect(await retrieveThenRerank('fox', { ...stages, textOf })).toHaveLength(10);
    const missing = (): Promise<string> => Promise.reject(new Error('no such text'));
    await expect(retrieveThenRerank('fox', { ...stages, textOf: missing })).rejects.toThrow('no such text');
  });
});
