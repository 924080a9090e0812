/**
 * Run with --expose-gc. Models that nobody holds are collected while their calls run: the calls must still give their
 * results, and the native memory must be freed afterwards.
 */
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ElasticModel } from '../../../lib/model/index.js';
import { randomBatch } from '../../support/batches.js';
import { Random } from '../../support/random.js';

const collect = globalThis.gc;
const directory = process.argv[2];
if (collect === undefined || directory === undefined) throw new Error('expected --expose-gc and a folder');

const random = new Random(1);

/** Starts a call and forgets its model. */
async function startAndForget(): Promise<{
  result: Promise<{ data: Float32Array }>;
  model: WeakRef<ElasticModel>;
}> {
  const model = await ElasticModel.load(directory ?? '', { threads: 2 });
  const batch = randomBatch(model.config, [64, 64, 64, 64], random);
  return { result: model.forward(batch, { output: 'hidden' }), model: new WeakRef(model) };
}

/** A function of its own: when it has returned, no variable holds its model or result. */
async function round(forceCollection: () => void): Promise<WeakRef<ElasticModel>> {
  const { result, model } = await startAndForget();
  forceCollection();
  const { data } = await result;
  if (!data.some((value) => value !== 0)) throw new Error('a result that was never written');
  if (data.some((value) => Number.isNaN(value))) throw new Error('a result of freed weights');
  return model;
}

/** Threads of this process, where the system lists them. */
function numThreads(): number {
  return existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0;
}

const threadsBefore = numThreads();
const forgotten: WeakRef<ElasticModel>[] = [];
for (let count = 0; count < 20; ++count) forgotten.push(await round(() => collect()));
let alive = forgotten.length;
let threadsLeft = numThreads();
for (let turn = 0; turn < 100 && (alive > 0 || threadsLeft > threadsBefore); ++turn) {
  await sleep(20); // a reference that was looked at lives until the end of its turn
  collect();
  alive = forgotten.filter((model) => model.deref() !== undefined).length;
  threadsLeft = numThreads();
}
console.log(JSON.stringify({ alive, threads: threadsLeft - threadsBefore }));
