/**
 * Exact search over 1M x 384 vectors beside the memory's own speed, and the same in i8, one query at a time, with the share
 * of the exact hits that i8 finds:
 *
 *   npm run bench:search -- [--vectors 1000000] [--rounds 9] [--out bench/results/search.json]
 *
 * Takes about 5 GiB of memory. A run that misses a bar says so in its record and ends with 1.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { VectorIndex, type Hit } from '../lib/index.js';
import { Random } from '../test/support/random.js';
import { Bars } from './cpu/ratio.js';
import { nativeProgram } from './native-program.js';
import { writeRecord } from './record.js';
import { median, medianSpeedup } from './timing.js';

const dims = 384;
const topK = 100;
const recallQueries = 100;
const numCentres = 2000;
/** Of the bandwidth that plain reading reaches in the same round. */
const bandwidthBar = { atLeast: 0.85 };
const i8Bar = { atLeast: 3 };
const recallBar = { atLeast: 0.99 };
const readMegabytes = 1024;
/**
 * Of each round the best of so many searches counts, as the best pass of plain reading does: what disturbs a round then
 * disturbs both sides of its ratio.
 */
const searchesPerRound = 5;

/** [count, dims] unit vectors around centres, whose dims differ in their spread as those of real embeddings do. */
function clustered(count: number, random: Random, centres: Float32Array): Float32Array {
  const vectors = new Float32Array(count * dims);
  for (let i = 0; i < count; i++) {
    const centre = (i % numCentres) * dims;
    let squares = 0;
    for (let e = 0; e < dims; e++) {
      const value = (centres[centre + e]! + random.normal()) * (e + 1) ** -0.25;
      vectors[i * dims + e] = value;
      squares += value * value;
    }
    const norm = Math.sqrt(squares);
    for (let e = 0; e < dims; e++) vectors[i * dims + e]! /= norm;
  }
  return vectors;
}

/** GB/s of plain reading: the best pass of the best loop. */
function readBandwidth(threads: number): number {
  const args = [String(threads), String(readMegabytes)];
  const line = execFileSync(nativeProgram('read_bench', ['read_loops.h']), args, { encoding: 'utf8' });
  return (JSON.parse(line) as { GBps: number }).GBps;
}

/** ms of the fastest of a round's searches */
async function bestSearch(index: VectorIndex, query: Float32Array): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < searchesPerRound; i++) {
    const start = performance.now();
    await index.search(query, { topK });
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

function recall(found: Hit[][], exact: Hit[][]): number {
  let same = 0;
  for (const [query, hits] of exact.entries()) {
    const ids = new Set(found[query]!.map(({ index }) => index));
    same += hits.filter(({ index }) => ids.has(index)).length;
  }
  return same / exact.flat().length;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      vectors: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '9' },
      out: { type: 'string', default: 'bench/results/search.json' },
    },
  });
  const [count, rounds] = [Number(values.vectors), Number(values.rounds)];
  const random = new Random(1);
  const centres = Float32Array.from({ length: numCentres * dims }, () => random.normal());
  const queries = clustered(recallQueries, random, centres);
  const source = {
    ids: Array.from({ length: count }, (_, i) => String(i)),
    vectors: clustered(count, random, centres),
    dims,
  };
  const bars = new Bars();
  const runs: object[] = [];
  for (const threads of [1, 2]) {
    await using exact = await VectorIndex.from(source, { threads });
    await using i8 = await VectorIndex.from(source, { threads, precision: 'i8' });
    const query = queries.subarray(0, dims);
    const [bandwidths, f32Ms, i8Ms]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      bandwidths.push(readBandwidth(threads));
      f32Ms.push(await bestSearch(exact, query));
      i8Ms.push(await bestSearch(i8, query));
    }
    const name = `${threads} threads`;
    const f32Shares = f32Ms.map((ms, round) => exact.bytes / ms / 1e6 / bandwidths[round]!);
    runs.push({
      threads,
      readGBps: median(bandwidths),
      f32: {
        medianMs: median(f32Ms),
        GBps: exact.bytes / median(f32Ms) / 1e6,
        ofBandwidth: bars.ratio(`${name}, f32 of the memory's bandwidth`, median(f32Shares), bandwidthBar),
      },
      i8: {
        medianMs: median(i8Ms),
        GBps: i8.bytes / median(i8Ms) / 1e6,
        overF32: bars.ratio(`${name}, i8 over f32`, medianSpeedup(i8Ms, f32Ms), i8Bar),
        recall: bars.ratio(
          `${name}, recall@${topK} of i8`,
          recall(await i8.search(queries, { topK }), await exact.search(queries, { topK })),
          recallBar,
        ),
      },
    });
  }
  writeRecord(values.out, { vectors: count, dims, topK, rounds, runs, missed: bars.missed });
  if (bars.missed.length > 0) process.exitCode = 1;
}

await main();
