/** A worker_thread that loads a model, starts calls, says so, and then ends as it was told, with the calls still running. */
import { parentPort, workerData } from 'node:worker_threads';
import { NativeIndex, NativeTrainer } from '../../../lib/binding/index.js';
import { ElasticModel, readCheckpoint } from '../../../lib/model/index.js';
import { randomBatch } from '../../support/batches.js';
import { Random } from '../../support/random.js';

export interface WorkerOrder {
  directory: string;
  /** 'finish': await the calls and close; 'exit': process.exit(); 'throw'; 'wait': until the parent terminates it */
  ending: 'finish' | 'exit' | 'throw' | 'wait';
}

const { directory, ending } = workerData as WorkerOrder;
const random = new Random(1);
const index = await NativeIndex.fromVectors({ vectors: new Float32Array(64 * 1000).fill(0.5), dims: 64 });
const model = await ElasticModel.load(directory, { threads: 2 });
const calls: Promise<unknown>[] = Array.from({ length: 20 }, () =>
  model.forward(randomBatch(model.config, [64, 64, 64, 64], random), { output: 'hidden' }),
);
calls.push(index.search(new Float32Array(64 * 200), 10));
const loading = ElasticModel.load(directory);
const { config, files } = await readCheckpoint(directory);
const full = {
  heads: Array<number>(config.numLayers).fill(config.numHeads),
  neurons: Array<number>(config.numLayers).fill(config.intermediateSize),
};
const trainer = await NativeTrainer.load({
  config,
  paths: files,
  teacherPaths: files,
  structures: [full],
  adapterIdx: new Int32Array(),
  heads: { pooler: false, numLabels: 0, relation: false, mlm: false, numAdapters: 0 },
  seed: 1,
  isa: '',
  precision: 'f32',
  recompute: false,
  threads: 2,
});
for (let step = 0; step < 5; ++step) {
  calls.push(
    trainer.step({
      batch: { batch: randomBatch(config, [64, 64, 64, 64], random) },
      objective: { hidden: { weight: 1 } },
      structureIdx: [0],
      weights: [1],
      mode: 'mixed',
    }),
  );
}
parentPort?.postMessage('busy');

switch (ending) {
  case 'finish':
    await Promise.all(calls);
    await Promise.all([model.close(), index.close(), trainer.close(), (await loading).close()]);
    break;
  case 'exit':
    process.exit(0);
    break;
  case 'throw':
    throw new Error('the worker fails on purpose');
  case 'wait':
    await Promise.all(calls);
    setInterval(() => undefined, 1000);
}
