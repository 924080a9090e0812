/** Runs of recipes: fine-tune, cut into levels, distil, each from where it stands. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError, throwIfAborted } from '../errors.js';
import { glueFormats } from '../eval/glue.js';
import { elasticize } from '../structure/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { TrainEvent } from './events.js';
import { importanceBatches } from './importance-batches.js';
import type { TrainOptions } from './options.js';
import { importanceDataOf, openRecipeData } from './recipe-data.js';
import { evaluateRecipe } from './recipe-evaluation.js';
import {
  checkRecipe,
  type Recipe,
  type RecipeData,
  type RecipeElasticizing,
  type RecipeKind,
  type RecipeTraining,
} from './recipe.js';
import { readTexts } from './text-files.js';
import { train, type TrainResult } from './trainer.js';
import type { DescribedData, Objective } from './types.js';

export type RecipeStage = 'finetune' | 'elasticize' | 'distill';

/** Something that takes a while besides training itself. */
export interface ProgressEvent {
  type: 'progress';
  /** e.g. 'reading data' or 'evaluating scifact' */
  what: string;
  done: number;
  total: number;
}

export type RecipeEvent = (TrainEvent | ProgressEvent) & { stage: RecipeStage };

export interface RecipeRunOptions {
  onEvent?: ((event: RecipeEvent) => void) | undefined;
  /** stop after this time with the state written; the same call goes on later */
  maxMinutes?: number | undefined;
  /** default true; false: refuse an output folder that holds a run */
  resume?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export interface RecipeResult extends TrainResult {
  /** the one that the call ended in */
  stage: RecipeStage;
}

/** The stages' folders below the recipe's output. */
export function recipeFolders({ output }: Pick<Recipe, 'output'>): Record<RecipeStage, string> {
  return {
    finetune: join(output, 'finetune'),
    elasticize: join(output, 'elastic'),
    distill: join(output, 'distill'),
  };
}

/**
 * The stage `finetune` alone: the whole model, at level 1, with the labels that the data has. Makes teachers.
 * @throws ELASTICLM_RECIPE_INVALID and what reading the data and train() throw
 */
export async function finetune(recipe: Recipe, options: RecipeRunOptions = {}): Promise<RecipeResult> {
  return new RecipeRun(checkRecipe(recipe), options).finetune();
}

/**
 * All stages that the recipe has, up to `distill`: every level against the frozen teacher. Stages that are done are not done again.
 * @throws as finetune(), and what elasticize() throws
 */
export async function distill(recipe: Recipe, options: RecipeRunOptions = {}): Promise<RecipeResult> {
  return new RecipeRun(checkRecipe(recipe), options).distill();
}

/** Losses of each kind where the recipe names none: without a teacher, and with one. */
const defaultObjectives: Readonly<Record<RecipeKind, { finetune?: Objective; distill: Objective }>> = {
  embedding: { distill: { embedding: { cosineWeight: 1, similarityWeight: 1 } } },
  relation: { distill: { relation: { weight: 1 } } },
  mlm: { finetune: { mlm: { weight: 1 } }, distill: { mlm: { weight: 1 }, hidden: { weight: 1 } } },
  contrastive: {
    finetune: { contrastive: { weight: 1 } },
    distill: { contrastive: { weight: 1 }, embedding: { cosineWeight: 1, similarityWeight: 1 } },
  },
  classification: {
    finetune: { classification: { weight: 1 } },
    distill: { hidden: { weight: 1 }, logits: { weight: 1 }, classification: { weight: 1 } },
  },
  regression: {
    finetune: { regression: { weight: 1 } },
    distill: { hidden: { weight: 1 }, logits: { weight: 1 }, regression: { weight: 1 } },
  },
  ranking: {
    finetune: { ranking: { labelWeight: 1 } },
    distill: { hidden: { weight: 1 }, ranking: { labelWeight: 1, teacherWeight: 1 } },
  },
};

/** What a stage of training starts from. */
interface StageModels {
  student: string;
  teacher?: string;
}

const defaultSeed = 1;

class RecipeRun {
  readonly #recipe: Recipe;
  readonly #options: RecipeRunOptions;
  readonly #folders: Record<RecipeStage, string>;
  readonly #beginMs = performance.now();
  #stage: RecipeStage = 'finetune';

  constructor(recipe: Recipe, options: RecipeRunOptions) {
    this.#recipe = recipe;
    this.#options = options;
    this.#folders = recipeFolders(recipe);
  }

  async finetune(): Promise<RecipeResult> {
    const { model } = this.#recipe;
    const training = this.#sectionOf('finetune');
    return this.#train('finetune', training, { student: model });
  }

  async distill(): Promise<RecipeResult> {
    const recipe = this.#recipe;
    const training = this.#sectionOf('distill');
    let whole = recipe.model;
    if (recipe.finetune !== undefined) {
      const result = await this.finetune();
      if (result.model === undefined) return result;
      whole = result.model;
    }
    const student =
      recipe.elasticize === undefined
        ? (recipe.student ?? whole)
        : await this.#elasticize(recipe.elasticize, whole);
    return this.#train('distill', training, { student, teacher: recipe.teacher ?? whole });
  }

  #sectionOf(stage: 'finetune' | 'distill'): RecipeTraining {
    const section = this.#recipe[stage];
    if (section !== undefined) return section;
    throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
      expected: 'settings of the training',
      subject: `${stage} in the recipe`,
      received: 'none',
    });
  }

  async #train(
    stage: 'finetune' | 'distill',
    section: RecipeTraining,
    models: StageModels,
  ): Promise<RecipeResult> {
    this.#stage = stage;
    const { objective, ...training } = section;
    const { kind, evaluation, maxLength } = this.#recipe;
    const data = await this.#openData(kind, this.#recipe.data, models.student);
    const options: TrainOptions = {
      ...training,
      ...models,
      ...labelsOf(this.#recipe.data),
      ...this.#threads(),
      ...this.#signal(),
      ...this.#timeLeft(),
      output: this.#folders[stage],
      data,
      objective: objective ?? this.#objectiveOf(stage),
      seed: this.#seed,
      resume: this.#options.resume ?? true,
      facts: { data: await data.fingerprint() },
      onEvent: (event) => this.#tell(event),
      ...(stage === 'finetune' ? { levels: [1] } : {}),
      ...(maxLength === undefined ? {} : { maxLength }),
      ...(evaluation === undefined
        ? {}
        : {
            evaluate: (model: string) =>
              evaluateRecipe(evaluation, {
                model,
                threads: this.#recipe.threads,
                signal: this.#options.signal,
                onProgress: (task, done, total) => this.#progress(`evaluating ${task}`, done, total),
              }),
            ...(evaluation.everySteps === undefined ? {} : { evaluateEverySteps: evaluation.everySteps }),
            ...(evaluation.best === undefined ? {} : { best: evaluation.best }),
          }),
    };
    return { stage, ...(await train(options)) };
  }

  #objectiveOf(stage: 'finetune' | 'distill'): Objective {
    const { kind } = this.#recipe;
    const objective = defaultObjectives[kind][stage];
    if (objective !== undefined) return objective;
    throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
      expected: 'none',
      subject: `${stage} in the recipe`,
      received: `one, for the kind ${kind}`,
      remedy: `The kind ${kind} learns from a teacher: give distill alone`,
    });
  }

  /** The elastic checkpoint, made now or before. @throws ELASTICLM_TRAINING_STATE_MISMATCH for one of other settings */
  async #elasticize(section: RecipeElasticizing, model: string): Promise<string> {
    this.#stage = 'elasticize';
    const output = this.#folders.elasticize;
    const settings = JSON.stringify({ model, section, data: this.#recipe.data, seed: this.#seed });
    const settingsPath = `${output}.json`;
    const before = await readIfThere(settingsPath);
    if (before === settings && (await readIfThere(join(output, 'elastic.json'))) !== undefined) return output;
    if (before !== undefined && before !== settings) {
      throw ElasticError.of('ELASTICLM_TRAINING_STATE_MISMATCH', {
        expected: 'the settings that it was made with',
        subject: output,
        received: 'others in the recipe',
        remedy: 'Give the run another output, or remove the folder to begin anew',
      });
    }
    throwIfAborted(this.#options.signal);
    await mkdir(this.#recipe.output, { recursive: true });
    await elasticize({
      ...(await this.#importanceOf(section, model)),
      ...this.#threads(),
      ...this.#signal(),
      model,
      output,
      levels: section.levels,
      seed: this.#seed,
      overwrite: true,
      onProgress: (done, total) => this.#progress('measuring importance', done, total),
      ...(section.normalizeLayers === undefined ? {} : { normalizeLayers: section.normalizeLayers }),
      ...(this.#recipe.maxLength === undefined ? {} : { maxLength: this.#recipe.maxLength }),
    });
    await writeFile(settingsPath, settings);
    return output;
  }

  async #importanceOf(section: RecipeElasticizing, model: string): Promise<ImportanceSource> {
    const { kind } = this.#recipe;
    const { importance = 'mask-gradient', examples: maxExamples = 1024, data = this.#recipe.data } = section;
    if (importance === 'activation-norm') {
      if (data.source !== 'text') {
        throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
          expected: 'text, which activation-norm is measured on,',
          subject: 'elasticize.data.source in the recipe',
          received: data.source,
        });
      }
      return { importance, texts: plainTexts(data.paths ?? []), maxExamples };
    }
    const loss = section.loss ?? (kind === 'embedding' || kind === 'relation' ? 'contrastive' : kind);
    const opened = await this.#openData(loss === 'mlm' ? 'mlm' : kind, importanceDataOf(data, loss), model);
    const batches = importanceBatches(opened, { maxExamples, seed: this.#seed });
    return { importance, loss, batches, numExamples: Math.min(maxExamples, opened.size) };
  }

  async #openData(kind: RecipeKind, data: RecipeData, model: string): Promise<DescribedData> {
    return openRecipeData(kind, data, {
      tokenizer: await Tokenizer.load(model),
      model,
      seed: this.#seed,
      threads: this.#recipe.threads,
      onProgress: (done, total) => this.#progress('reading data', done, total),
      signal: this.#options.signal,
    });
  }

  get #seed(): number {
    return this.#recipe.seed ?? defaultSeed;
  }

  #threads(): Pick<TrainOptions, 'threads'> {
    return this.#recipe.threads === undefined ? {} : { threads: this.#recipe.threads };
  }

  #signal(): Pick<TrainOptions, 'signal'> {
    return this.#options.signal === undefined ? {} : { signal: this.#options.signal };
  }

  /** Of `maxMinutes`, which counts from the call; what is used up still leaves one step. */
  #timeLeft(): Pick<TrainOptions, 'maxMinutes'> {
    const { maxMinutes } = this.#options;
    if (maxMinutes === undefined) return {};
    const used = (performance.now() - this.#beginMs) / 60_000;
    return { maxMinutes: Math.max(maxMinutes - used, Number.EPSILON) };
  }

  #tell(event: TrainEvent | ProgressEvent): void {
    this.#options.onEvent?.({ ...event, stage: this.#stage });
  }

  #progress(what: string, done: number, total: number): void {
    this.#tell({ type: 'progress', what, done, total });
  }
}

type ImportanceSource =
  | { importance: 'activation-norm'; texts: AsyncIterable<string>; maxExamples: number }
  | {
      importance: 'mask-gradient';
      loss: NonNullable<RecipeElasticizing['loss']>;
      batches: ReturnType<typeof importanceBatches>;
      numExamples: number;
    };

async function* plainTexts(paths: readonly string[]): AsyncGenerator<string> {
  for await (const { text } of readTexts(paths)) yield text;
}

/** Names of a classifier's classes; a score has one. */
function labelsOf(data: RecipeData): Pick<TrainOptions, 'labels'> {
  if (data.source === 'wikiqa') return { labels: ['relevance'] };
  if (data.source !== 'glue') return {};
  return { labels: data.task === 'stsb' ? ['similarity'] : glueFormats[data.task].labels };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
