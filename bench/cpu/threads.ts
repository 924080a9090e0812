/** Part threads: two threads beside one, two forwards at once, and a neighbour that takes a core. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { ElasticModel } from '../../lib/index.js';
import { defaultModelDirectory } from '../../test/support/default-model.js';
import { alternate, burst, median, medianSpeedup } from '../timing.js';
import * as bar from './bars.js';
import type { BenchPrecision } from './options.js';
import { pooledOptions } from './peers.js';
import { Bars, type Ratio } from './ratio.js';
import { makeBatch, shapeNames, shapes, type ShapeName } from './shapes.js';

interface ShapeThreads {
  shape: string;
  oneThreadMs: number;
  twoThreadsMs: number;
  /** two threads beside a process that spins on one core */
  busyMs: number;
  /** one thread's time over two threads' */
  speedup: Ratio;
  busyOverOneThread: Ratio;
}

interface ConcurrentResult {
  /** each of the two forwards' */
  shape: string;
  concurrentMs: number;
  batchMs: number;
  overBatch: Ratio;
}

interface ThreadsRun {
  isa: string;
  rounds: number;
  /** how the neighbour was kept on one core */
  neighbour: string;
  shapes: ShapeThreads[];
  concurrent: ConcurrentResult[];
  missed: string[];
}

const concurrentShapes: readonly ShapeName[] = ['1x16', '1x32', '1x128', '8x128'];

export async function measureThreads(precision: BenchPrecision, rounds: number): Promise<ThreadsRun> {
  const load = (threads: number): Promise<ElasticModel> =>
    ElasticModel.load(defaultModelDirectory(), { backend: 'cpu', precision, threads });
  await using one = await load(1);
  await using two = await load(2);
  await using neighbour = new Neighbour();
  const bars = new Bars();
  const results: ShapeThreads[] = [];
  for (const shape of shapeNames) {
    const batch = makeBatch(shapes[shape], one.config.vocabSize);
    const [oneMs, twoMs, busyMs]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      oneMs.push(await burst(() => one.forward(batch, pooledOptions)));
      twoMs.push(await burst(() => two.forward(batch, pooledOptions)));
      neighbour.resume();
      busyMs.push(await burst(() => two.forward(batch, pooledOptions)));
      neighbour.pause();
    }
    const speedupBar = bar.twoThreadSpeedups[shape];
    const what = `${precision} ${shape}`;
    results.push({
      shape,
      oneThreadMs: median(oneMs),
      twoThreadsMs: median(twoMs),
      busyMs: median(busyMs),
      speedup: bars.ratio(
        `${what}, two threads over one`,
        medianSpeedup(twoMs, oneMs),
        speedupBar === undefined ? {} : { atLeast: speedupBar },
      ),
      busyOverOneThread: bars.ratio(
        `${what}, two threads beside a busy process, time over one thread`,
        median(busyMs.map((ms, round) => ms / oneMs[round]!)),
        { atMost: bar.busyOverOneThread },
      ),
    });
  }
  const concurrent = await measureConcurrent(two, rounds, (shape, value) =>
    bars.ratio(`${precision} ${shape}, two at once over both in one batch`, value, {
      atMost: bar.concurrentOverBatch,
    }),
  );
  return {
    isa: two.info().isa,
    rounds,
    neighbour: neighbour.description,
    shapes: results,
    concurrent,
    missed: bars.missed,
  };
}

async function measureConcurrent(
  model: ElasticModel,
  rounds: number,
  judge: (shape: string, value: number) => Ratio,
): Promise<ConcurrentResult[]> {
  const results: ConcurrentResult[] = [];
  for (const shape of concurrentShapes) {
    const lengths = shapes[shape];
    const { vocabSize } = model.config;
    const single = makeBatch(lengths, vocabSize);
    const both = makeBatch([...lengths, ...lengths], vocabSize);
    const { ms } = await alternate(
      [
        () => Promise.all([model.forward(single, pooledOptions), model.forward(single, pooledOptions)]),
        () => model.forward(both, pooledOptions),
      ],
      rounds,
    );
    const [concurrentMs, batchMs] = ms as [number[], number[]];
    results.push({
      shape,
      concurrentMs: median(concurrentMs),
      batchMs: median(batchMs),
      overBatch: judge(shape, 1 / medianSpeedup(concurrentMs, batchMs)),
    });
  }
  return results;
}

/** A process of its own that does nothing but spin, on the first core where taskset is there to pin it. */
class Neighbour {
  readonly description: string;
  readonly #child: ChildProcess;

  constructor() {
    const spin = [process.execPath, '-e', 'for (;;);'];
    const pinned = spawnSync('taskset', ['--version']).status === 0;
    this.description = pinned ? 'pinned to core 0' : 'not pinned';
    const [program, ...args] = pinned ? ['taskset', '-c', '0', ...spin] : spin;
    this.#child = spawn(program!, args, { stdio: 'ignore' });
    this.pause();
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.on('close', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
