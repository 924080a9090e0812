/** Ends the process while calls run: by process.exit, or by having nothing left to do but unclosed models. */
import { ElasticModel } from '../../../lib/model/index.js';
import { randomBatch } from '../../support/batches.js';
import { Random } from '../../support/random.js';

const [, , directory = '', ending] = process.argv;
const model = await ElasticModel.load(directory, { threads: 2 });
const batch = randomBatch(model.config, [64, 64, 64, 64], new Random(1));
const calls = Array.from({ length: 20 }, () => model.forward(batch, { output: 'hidden' }));
if (ending === 'exit') {
  process.exit(3);
}
await Promise.all(calls);
console.log('all settled');
