/** Starts several workers at once, each of which ends in its own way while its calls run, and reports how each ended. */
import { Worker } from 'node:worker_threads';
import { ElasticModel } from '../../../lib/model/index.js';
import { randomBatch } from '../../support/batches.js';
import { Random } from '../../support/random.js';
import type { WorkerOrder } from './busy-worker.js';

const directory = process.argv[2] ?? '';
const endings: WorkerOrder['ending'][] = ['finish', 'exit', 'throw', 'wait', 'exit', 'wait'];

/** Workers do not inherit the TypeScript loader: this module registers it, then runs the program. */
const entryCode = `
  import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))};
  register();
  await import(${JSON.stringify(import.meta.resolve('./busy-worker.ts'))});
`;
const workerEntry = new URL(`data:text/javascript,${encodeURIComponent(entryCode)}`);

function runWorker(ending: WorkerOrder['ending'], terminateAfterMs: number): Promise<string> {
  return new Promise((resolve) => {
    const order: WorkerOrder = { directory, ending };
    const worker = new Worker(workerEntry, { workerData: order });
    let failure = '';
    worker.on('error', (error) => (failure = ` ${error.message}`));
    worker.on('message', () => {
      if (ending === 'wait') setTimeout(() => void worker.terminate(), terminateAfterMs);
    });
    worker.on('exit', (code) => {
      resolve(`${ending} ${code}${failure}`);
    });
  });
}

const model = await ElasticModel.load(directory);
const batch = randomBatch(model.config, [32, 32], new Random(2));
const before = await model.forward(batch, { output: 'hidden' });
const ended = await Promise.all(endings.map((ending, position) => runWorker(ending, position)));
const after = await model.forward(batch, { output: 'hidden' });
const unchanged = before.data.every((value, position) => value === after.data[position]);
await model.close();
console.log(JSON.stringify({ ended, unchanged }));
