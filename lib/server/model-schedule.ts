/** A model behind a schedule: heads hand it their texts, and it chooses when and at which level each runs. */
import { packBatch } from '../batch/index.js';
import { ElasticError } from '../errors.js';
import type { HeadRun, Runner, RunOutput, RunResult } from '../heads/index.js';
import type { ElasticModel } from '../model/index.js';
import {
  coefficientsOf,
  CostModel,
  ElasticScheduler,
  sequenceWork,
  type Executor,
  type Member,
  type Policy,
  type Profile,
  type SchedulerStats,
  type Served,
  type Slo,
  type SubmitOptions,
} from '../schedule/index.js';
import { Slices } from '../slices.js';
import type { Encoding } from '../types.js';
import { levelQualities, profileModel } from './profile-model.js';

export interface ModelScheduleOptions {
  slo: Slo;
  /** default slackPolicy() */
  policy?: Policy | undefined;
  /** sequences that may wait at a time; default 10000 */
  maxQueued?: number | undefined;
  /** of this model on this machine; default: measured now, which takes about two seconds */
  profile?: Profile | undefined;
}

/** One text or pair, and what is wanted of it. */
interface Sequence {
  encoding: Encoding;
  output: RunOutput;
}

/** [dims] floats */
type Row = Float32Array;

export class ModelSchedule implements Runner {
  readonly profile: Profile;
  readonly #scheduler: ElasticScheduler<Sequence, Row>;

  private constructor(model: ElasticModel, profile: Profile, options: ModelScheduleOptions) {
    const { slo, policy, maxQueued } = options;
    this.profile = profile;
    this.#scheduler = new ElasticScheduler({
      executor: new ModelExecutor(model),
      cost: new CostModel(coefficientsOf(profile)),
      slo,
      policy,
      maxQueued,
    });
  }

  /**
   * To be given to a head as its runner: `ElasticDenser.load(folder, { runner: (model) => ModelSchedule.create(model, options) })`.
   * @throws ELASTICLM_ARGUMENT_INVALID (a profile of other levels), what profileModel throws
   */
  static async create(model: ElasticModel, options: ModelScheduleOptions): Promise<ModelSchedule> {
    const profile = options.profile ?? (await profileModel(model));
    const levelsOf = (levels: readonly { level: number }[]): string =>
      levels.map(({ level }) => level).join(', ');
    if (levelsOf(profile.levels) !== levelsOf(model.levels)) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `levels ${levelsOf(model.levels)}, those of the model`,
        subject: 'options.profile',
        received: levelsOf(profile.levels),
      });
    }
    return new ModelSchedule(model, profile, options);
  }

  /** Every item is a request of its own. When one is refused or fails, those that still wait are given up. */
  async run({ count, dims, tokenize, output, options }: HeadRun): Promise<RunResult> {
    const { schedule = {}, level, signal } = options;
    const { onServed, ...bounds } = schedule;
    const startMs = performance.now();
    const rest = new AbortController();
    const giveUp = (): void => rest.abort(signal?.reason);
    signal?.addEventListener('abort', giveUp, { once: true });
    const slices = new Slices(signal);
    const served: Promise<Served<Row>>[] = [];
    // The first one is the call's; the others are given up because of it.
    let failure: { error: unknown } | undefined;
    const result: RunResult = { data: new Float32Array(count * dims), dims, levels: [], totalTokens: 0 };
    try {
      for (let item = 0; item < count && !rest.signal.aborted; ++item) {
        if (slices.isOver) await slices.next();
        const encoding = tokenize(item);
        result.totalTokens += encoding.inputIds.length;
        const own = typeof level === 'object' ? level[item] : level;
        const one = this.#scheduler.submit(
          { encoding, output },
          submitOptions(bounds, own, startMs, rest.signal),
        );
        one.catch((error: unknown) => {
          failure ??= { error };
          giveUp();
        });
        served.push(one);
      }
      const all = await Promise.all(served);
      for (const [item, { result: row }] of all.entries()) result.data.set(row, item * dims);
      result.levels = all.map((one) => one.level);
      onServed?.({
        levels: result.levels,
        queueDelayMs: Math.max(0, ...all.map(({ queueDelayMs }) => queueDelayMs)),
        serviceMs: Math.max(0, ...all.map(({ serviceMs }) => serviceMs)),
        totalTokens: result.totalTokens,
      });
      return result;
    } catch (error) {
      throw failure === undefined ? error : failure.error;
    } finally {
      giveUp();
      signal?.removeEventListener('abort', giveUp);
    }
  }

  stats(): SchedulerStats {
    return this.#scheduler.stats();
  }

  /** Takes no more and answers what it has. */
  close(): Promise<void> {
    return this.#scheduler.close();
  }
}

/** A deadline counts from the call, not from when its last item was tokenised. */
function submitOptions(
  bounds: SubmitOptions,
  level: number | undefined,
  startMs: number,
  signal: AbortSignal,
): SubmitOptions {
  const { deadlineMs } = bounds;
  return {
    ...bounds,
    ...(deadlineMs === undefined ? {} : { deadlineMs: deadlineMs - (performance.now() - startMs) }),
    ...(level === undefined ? {} : { minLevel: level, maxLevel: level }),
    signal,
  };
}

/** Sequences of any levels in one batch. */
class ModelExecutor implements Executor<Sequence, Row> {
  readonly levels;
  readonly #model: ElasticModel;

  constructor(model: ElasticModel) {
    this.#model = model;
    this.levels = levelQualities(model);
  }

  workOf({ encoding }: Sequence): ReturnType<typeof sequenceWork> {
    return sequenceWork(encoding.inputIds.length);
  }

  async run(members: readonly Member<Sequence>[]): Promise<Row[]> {
    // A head wants the same of all its texts, and a schedule has one head.
    const { output } = members[0]!.request;
    const batch = packBatch(members.map(({ request }) => request.encoding));
    const { data, dims } = await this.#model.forward(batch, {
      ...output,
      level: members.map(({ level }) => level),
    });
    return members.map((_, row) => data.subarray(row * dims, (row + 1) * dims));
  }
}
