import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VectorIndex } from '../../lib/retrieval/index.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-index-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function randomVectors(count: number, dims: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count * dims }, () => random.normal());
}

function numberedIds(count: number): string[] {
  return Array.from({ length: count }, (_, idx) => `d${idx}`);
}

describe('VectorIndex.search()', () => {
  it('finds the documents that a float64 sort finds', async () => {
    const [count, dims, topK] = [500, 24, 7];
    const vectors = randomVectors(count, dims, 1);
    const queries = randomVectors(9, dims, 2);
    await using index = await VectorIndex.from({ ids: numberedIds(count), vectors, dims });
    const found = await index.search(queries, { topK });
    expect(found).toHaveLength(9);
    for (const [query, hits] of found.entries()) {
      const dot = (document: number): number => {
        let sum = 0;
        for (let i = 0; i < dims; ++i) sum += queries[query * dims + i]! * vectors[document * dims + i]!;
        return sum;
      };
      const best = Array.from({ length: count }, (_, document) => document).sort((a, b) => dot(b) - dot(a));
      expect(hits.map(({ index: document }) => document)).toEqual(best.slice(0, topK));
      for (const { id, index: document, score } of hits) {
        expect(id).toBe(`d${document}`);
        // a sum of n products in f32, any order: n u times the sum of their magnitudes, which Cauchy-Schwarz bounds
        const norm = (values: Float32Array, row: number): number =>
          Math.hypot(...values.subarray(row * dims, (row + 1) * dims));
        const bound = dims * 2 ** -24 * norm(queries, query) * norm(vectors, document);
        expect(Math.abs(score - dot(document))).toBeLessThanOrEqual(bound);
      }
    }
  });

  it('gives equal scores in the order of the index', async () => {
    const vectors = new Float32Array(40).fill(1);
    await using index = await VectorIndex.from({ ids: numberedIds(20), vectors, dims: 2 });
    const [hits] = await index.search(Float32Array.from([1, 1]), { topK: 5 });
    expect(hits!.map(({ id }) => id)).toEqual(['d0', 'd1', 'd2', 'd3', 'd4']);
  });

  it('finds all documents when asked for more, none in an empty index, nothing for no query', async () => {
    await using index = await VectorIndex.from({ ids: ['a', 'b'], vectors: randomVectors(2, 3, 1), dims: 3 });
    const [hits] = await index.search(randomVectors(1, 3, 2), { topK: 10 });
    expect(hits).toHaveLength(2);
    expect(await index.search(new Float32Array(0))).toEqual([]);
    await using empty = await VectorIndex.from({ ids: [], vectors: new Float32Array(0), dims: 3 });
    expect(await empty.search(randomVectors(2, 3, 2))).toEqual([[], []]);
  });

  it('refuses what does not fit, with a coded error', async () => {
    await using index = await VectorIndex.from({ ids: ['a'], vectors: randomVectors(1, 3, 1), dims: 3 });
    await expectRejection(index.search(randomVectors(1, 4, 1)), 'ELASTICLM_ARGUMENT_INVALID', /4 floats/);
    await expectRejection(
      index.search([1] as unknown as Float32Array),
      'ELASTICLM_ARGUMENT_INVALID',
      /queries/,
    );
    for (const topK of [0, -1, 1.5, NaN]) {
      await expectRejection(
        index.search(randomVectors(1, 3, 1), { topK }),
        'ELASTICLM_ARGUMENT_INVALID',
        /topK/,
      );
    }
    const signal = AbortSignal.abort();
    await expectRejection(index.search(randomVectors(1, 3, 1), { signal }), 'ELASTICLM_CALL_ABORTED');
    const vectors = randomVectors(1, 3, 1);
    await expectRejection(
      VectorIndex.from({ ids: ['a', 'b'], vectors, dims: 3 }),
      'ELASTICLM_ARGUMENT_INVALID',
    );
    const numbers = [1] as unknown as string[];
    await expectRejection(
      VectorIndex.from({ ids: numbers, vectors, dims: 3 }),
      'ELASTICLM_ARGUMENT_INVALID',
      /id 0/,
    );
  });

  it('fails after close(), which may be called twice', async () => {
    const index = await VectorIndex.from({ ids: ['a'], vectors: randomVectors(1, 3, 1), dims: 3 });
    const searching = index.search(randomVectors(1, 3, 1));
    await Promise.all([index.close(), index.close()]);
    expect(await searching).toHaveLength(1);
    await expectRejection(index.search(randomVectors(1, 3, 1)), 'ELASTICLM_INDEX_CLOSED');
  });
});

describe("VectorIndex with precision 'i8'", () => {
  const dims = 48;
  /** Unit vectors around 40 centres. */
  function clustered(count: number, seed: number): Float32Array {
    const centres = randomVectors(40, dims, 3);
    const vectors = randomVectors(count, dims, seed);
    for (let i = 0; i < count; i++) {
      const vector = vectors.subarray(i * dims, (i + 1) * dims);
      for (let e = 0; e < dims; e++) vector[e]! += centres[(i % 40) * dims + e]!;
      const norm = Math.hypot(...vector);
      for (let e = 0; e < dims; e++) vector[e]! /= norm;
    }
    return vectors;
  }

  it('finds what f32 finds, in about a quarter of the memory, with nearly the same scores', async () => {
    const ids = numberedIds(4000);
    const vectors = clustered(4000, 1);
    await using exact = await VectorIndex.from({ ids, vectors, dims });
    await using index = await VectorIndex.from({ ids, vectors, dims }, { precision: 'i8' });
    expect([exact.precision, index.precision]).toEqual(['f32', 'i8']);
    expect([exact.bytes, index.bytes]).toEqual([4000 * dims * 4, 4000 * (64 + 4)]);
    const queries = clustered(20, 2);
    const expected = await exact.search(queries, { topK: 100 });
    const found = await index.search(queries, { topK: 100 });
    let same = 0;
    for (const [query, hits] of found.entries()) {
      const scores = new Map(expected[query]!.map(({ id, score }) => [id, score]));
      same += hits.filter(({ id }) => scores.has(id)).length;
      // Each of the two unit vectors is off by at most half a step of absmax / 127 in each of its dims.
      const bound = 2 * Math.sqrt(dims) * (0.5 / 127) + 1e-4;
      for (const { id, score } of hits)
        expect(Math.abs(score - (scores.get(id) ?? score))).toBeLessThan(bound);
    }
    expect(same / (20 * 100)).toBeGreaterThanOrEqual(0.99);
  });

  it('keeps its hits to the bit when saved and opened', async () => {
    const path = join(folder, 'small.idx');
    const ids = numberedIds(300);
    await using index = await VectorIndex.from(
      { ids, vectors: clustered(300, 4), dims },
      { precision: 'i8' },
    );
    await index.save(path);
    await using opened = await VectorIndex.open(path);
    expect([opened.precision, opened.count, opened.dims, opened.bytes]).toEqual([
      'i8',
      300,
      dims,
      index.bytes,
    ]);
    const queries = clustered(5, 5);
    expect(await opened.search(queries)).toEqual(await index.search(queries));
  });

  it('gives the same bits on one thread and on three', async () => {
    const source = { ids: numberedIds(9000), vectors: clustered(9000, 6), dims };
    const queries = clustered(7, 7);
    await using one = await VectorIndex.from(source, { precision: 'i8', threads: 1 });
    await using three = await VectorIndex.from(source, { precision: 'i8', threads: 3 });
    expect(await three.search(queries, { topK: 50 })).toEqual(await one.search(queries, { topK: 50 }));
  });

  it('keeps no vectors at all', async () => {
    const path = join(folder, 'empty.idx');
    const source = { ids: [], vectors: new Float32Array(0), dims };
    await using index = await VectorIndex.from(source, { precision: 'i8' });
    await index.save(path);
    await using opened = await VectorIndex.open(path);
    expect([opened.precision, opened.count, opened.bytes]).toEqual(['i8', 0, 0]);
    expect(await opened.search(clustered(2, 8))).toEqual([[], []]);
  });

  it('refuses a file that is cut, grown, or says to be of the other precision', async () => {
    const path = join(folder, 'docs.idx');
    await using index = await VectorIndex.from(
      { ids: numberedIds(30), vectors: clustered(30, 9), dims },
      { precision: 'i8' },
    );
    await index.save(path);
    const good = await readFile(path);
    const withPrecision = (code: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes.writeUInt32LE(code, 12);
      return bytes;
    };
    const bad = [
      good.subarray(0, good.length - 1),
      good.subarray(0, 64 + 30 * 64),
      Buffer.concat([good, Buffer.from(' ')]),
      withPrecision(0),
      withPrecision(2),
    ];
    for (const bytes of bad) {
      await writeFile(path, bytes);
      await expectRejection(VectorIndex.open(path), 'ELASTICLM_INDEX_INVALID', /docs\.idx/);
    }
  });

  it('rejects an aborted search and a search when closed, which waits for those in flight', async () => {
    const source = { ids: numberedIds(30), vectors: clustered(30, 10), dims };
    const index = await VectorIndex.from(source, { precision: 'i8' });
    const query = clustered(1, 11);
    await expectRejection(index.search(query, { signal: AbortSignal.abort() }), 'ELASTICLM_CALL_ABORTED');
    const inFlight = index.search(query);
    await index.close();
    expect(await inFlight).toHaveLength(1);
    await expectRejection(index.search(query), 'ELASTICLM_INDEX_CLOSED');
    expect([index.precision, index.bytes]).toEqual(['i8', 30 * (64 + 4)]);
  });

  it('is refused by another name', async () => {
    const source = { ids: ['a'], vectors: randomVectors(1, 3, 1), dims: 3 };
    await expectRejection(
      VectorIndex.from(source, { precision: 'bf16' as 'i8' }),
      'ELASTICLM_ARGUMENT_INVALID',
      /options\.precision/,
    );
  });
});

describe('VectorIndex.save() and open()', () => {
  const ids = ['plain', 'with "quotes" and \\', 'line\nbreak', 'é\u2028\u{1F600}', ''];

  it('give back the same ids and the same hits, to the bit', async () => {
    const path = join(folder, 'docs.idx');
    await using index = await VectorIndex.from({ ids, vectors: randomVectors(5, 6, 1), dims: 6 });
    await index.save(path);
    await using opened = await VectorIndex.open(path);
    expect([opened.count, opened.dims]).toEqual([5, 6]);
    const queries = randomVectors(3, 6, 2);
    expect(await opened.search(queries)).toEqual(await index.search(queries));
    expect(await readdir(folder)).toEqual(['docs.idx']);
  });

  it('copy an opened index, and replace the very file that is open', async () => {
    const path = join(folder, 'docs.idx');
    await using index = await VectorIndex.from({ ids, vectors: randomVectors(5, 6, 1), dims: 6 });
    await index.save(path);
    await using opened = await VectorIndex.open(path);
    await opened.save(join(folder, 'copy.idx'));
    expect(await readFile(join(folder, 'copy.idx'))).toEqual(await readFile(path));
    const queries = randomVectors(1, 6, 2);
    const before = await opened.search(queries);
    await using other = await VectorIndex.from({ ids: ['other'], vectors: randomVectors(1, 6, 3), dims: 6 });
    await other.save(path);
    expect(await opened.search(queries)).toEqual(before);
  });

  it('keep an empty index', async () => {
    const path = join(folder, 'empty.idx');
    await using index = await VectorIndex.from({ ids: [], vectors: new Float32Array(0), dims: 4 });
    await index.save(path);
    await using opened = await VectorIndex.open(path);
    expect(opened.count).toBe(0);
  });

  it('leave nothing behind where writing fails', async () => {
    await using index = await VectorIndex.from({ ids, vectors: randomVectors(5, 6, 1), dims: 6 });
    await expectRejection(
      index.save(join(folder, 'no', 'such.idx')),
      'ELASTICLM_FILE_UNWRITABLE',
      /such\.idx/,
    );
    await expectRejection(index.save(folder), 'ELASTICLM_FILE_UNWRITABLE');
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuse a file that is missing or not an index', async () => {
    const path = join(folder, 'docs.idx');
    await expectRejection(VectorIndex.open(path), 'ELASTICLM_FILE_NOT_FOUND', /docs\.idx/);
    await writeFile(path, 'not an index');
    await expectRejection(VectorIndex.open(path), 'ELASTICLM_INDEX_INVALID', /docs\.idx/);
  });

  it('refuse ids that are no JSON array of as many strings', async () => {
    const path = join(folder, 'docs.idx');
    await using index = await VectorIndex.from({ ids: ['a', 'b'], vectors: randomVectors(2, 2, 1), dims: 2 });
    await index.save(path);
    const good = await readFile(path, 'latin1');
    for (const idsText of ['["a","b"', '["a", 22]', '["abcde"]', '{"a":"b"}', '"a","b"  ']) {
      await writeFile(path, good.replace('["a","b"]', idsText.padEnd(9)), 'latin1');
      await expectRejection(VectorIndex.open(path), 'ELASTICLM_INDEX_INVALID', /2 strings/);
    }
  });
});
