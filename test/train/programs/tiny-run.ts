/**
 * Trains a checkpoint (FOLDER/student, unless the changes name another) on random tokens, by itself as the teacher, with changes
 * to the options given as JSON; prints each event as a line.
 */
import { readCheckpoint } from '../../../lib/model/index.js';
import { train, type TrainOptions } from '../../../lib/train/index.js';
import { tinyDistillation } from '../../support/tiny-training.js';
import { RandomData } from '../../support/train-data.js';

const [, , folder = '', changes = '{}'] = process.argv;
try {
  const options = tinyDistillation(folder, JSON.parse(changes) as Partial<TrainOptions>);
  const { config } = await readCheckpoint(options.student);
  const result = await train({
    ...options,
    data: new RandomData({ config, size: 200 }),
    onEvent: (event) => console.log(JSON.stringify(event)),
  });
  console.log(JSON.stringify({ type: 'result', ...result }));
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  console.log(JSON.stringify({ type: 'error', code, message }));
  process.exitCode = 1;
}
