/** Heads behind schedules: what a server holds. */
import { ElasticError } from '../errors.js';
import { ElasticClassifier, ElasticDenser, ElasticRanker, type HeadLoadOptions } from '../heads/index.js';
import type { LoadOptions } from '../model/index.js';
import type { SchedulerStats } from '../schedule/index.js';
import { ModelSchedule, type ModelScheduleOptions } from './model-schedule.js';

/** Folders of checkpoints, at least one. */
export interface ServiceHeads {
  denser?: string | undefined;
  ranker?: string | undefined;
  classifier?: string | undefined;
}

export interface ServiceOptions extends Omit<ModelScheduleOptions, 'profile'> {
  /** of every model */
  load?: LoadOptions | undefined;
}

export type HeadName = keyof ServiceHeads;

/** Each head has a model and a schedule of its own; one that is slowed down by another sees a slower machine. */
export class ElasticService {
  readonly denser: ElasticDenser | undefined;
  readonly ranker: ElasticRanker | undefined;
  readonly classifier: ElasticClassifier | undefined;
  readonly #schedules: ReadonlyMap<HeadName, ModelSchedule>;
  #closed: Promise<void> | undefined;

  private constructor(heads: LoadedHeads, schedules: ReadonlyMap<HeadName, ModelSchedule>) {
    this.denser = heads.denser;
    this.ranker = heads.ranker;
    this.classifier = heads.classifier;
    this.#schedules = schedules;
  }

  /** @throws ELASTICLM_ARGUMENT_INVALID (no head) and what the heads' load throws */
  static async load(heads: ServiceHeads, options: ServiceOptions): Promise<ElasticService> {
    const { load = {}, ...scheduleOptions } = options;
    const schedules = new Map<HeadName, ModelSchedule>();
    const optionsOf = (name: HeadName): HeadLoadOptions => ({
      ...load,
      runner: async (model) => {
        const schedule = await ModelSchedule.create(model, scheduleOptions);
        schedules.set(name, schedule);
        return schedule;
      },
    });
    const loaded: LoadedHeads = {};
    try {
      // One after the other: each measures what its model costs on the machine as it will be.
      if (heads.denser !== undefined)
        loaded.denser = await ElasticDenser.load(heads.denser, optionsOf('denser'));
      if (heads.ranker !== undefined)
        loaded.ranker = await ElasticRanker.load(heads.ranker, optionsOf('ranker'));
      if (heads.classifier !== undefined) {
        loaded.classifier = await ElasticClassifier.load(heads.classifier, optionsOf('classifier'));
      }
    } catch (error) {
      await closeAll(loaded);
      throw error;
    }
    if (schedules.size > 0) return new ElasticService(loaded, schedules);
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'the folder of a denser, ranker or classifier',
      subject: 'heads',
      received: 'none',
    });
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** Names of the heads that there are. */
  get heads(): HeadName[] {
    return [...this.#schedules.keys()];
  }

  /** @returns undefined where there is no such head */
  stats(name: HeadName): SchedulerStats | undefined {
    return this.#schedules.get(name)?.stats();
  }

  /** Takes no more, answers what it has, then frees the models. Every call returns the same promise. */
  close(): Promise<void> {
    this.#closed ??= closeAll(this);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface LoadedHeads {
  denser?: ElasticDenser | undefined;
  ranker?: ElasticRanker | undefined;
  classifier?: ElasticClassifier | undefined;
}

async function closeAll({ denser, ranker, classifier }: LoadedHeads): Promise<void> {
  await Promise.all([denser?.close(), ranker?.close(), classifier?.close()]);
}
