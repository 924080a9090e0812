/**
 * Loads the checkpoint of the first argument in this fresh process, runs it at changing levels, and prints what it used as
 * one JSON line. Needs `--expose-gc`: garbage of the runtime would drown the megabytes that are looked for.
 */
import { ElasticModel, packBatch, type PackedBatch } from '../../../lib/index.js';

export interface MemoryUse {
  levels: number;
  weightBytes: number;
  /** scratch memory after the first forward at level 1, and after many at changing levels */
  arenaBytes: number;
  arenaBytesAfterSwitching: number;
  /** resident memory of the process over that before loading, at the same two moments */
  usedBytes: number;
  usedBytesAfterSwitching: number;
  forwards: number;
}

/** One block of rows for each of two threads. */
const sequences = 4;
const tokens = 64;
/** Before the first look: the runtime compiles and settles. */
const warmUps = 40;
const forwards = 200;

function residentBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

function makeBatch(vocabSize: number): PackedBatch {
  return packBatch(
    Array.from({ length: sequences }, (_, s) => ({
      inputIds: Int32Array.from({ length: tokens }, (__, i) => (1009 * (s + 1) + 7919 * i) % vocabSize),
      tokenTypeIds: new Int32Array(tokens),
    })),
  );
}

const directory = process.argv[2];
if (directory === undefined || globalThis.gc === undefined) {
  throw new Error('usage: node --expose-gc memory-use CHECKPOINT');
}
const before = residentBytes();
await using model = await ElasticModel.load(directory);
const batch = makeBatch(model.config.vocabSize);
const run = (level: number): Promise<unknown> => model.forward(batch, { level, output: 'pooled' });

for (let i = 0; i < warmUps; ++i) await run(1);
const settled = { arenaBytes: model.info().arenaBytes, usedBytes: residentBytes() - before };
for (let i = 0; i < forwards; ++i) await run(model.levels[i % model.levels.length]!.level);
const { weightBytes, arenaBytes } = model.info();
const use: MemoryUse = {
  levels: model.levels.length,
  weightBytes,
  ...settled,
  arenaBytesAfterSwitching: arenaBytes,
  usedBytesAfterSwitching: residentBytes() - before,
  forwards,
};
process.stdout.write(`${JSON.stringify(use)}\n`);
