import { join } from 'node:path';
import { Command } from 'commander';
import {
  distill,
  finetune,
  recipeFolders,
  type Recipe,
  type RecipeResult,
  type RecipeRunOptions,
} from '../../index.js';
import { given } from '../options.js';
import { printJson, printTable } from '../output.js';
import { addRecipeOptions, recipeOf, type RecipeOptions } from '../recipe-options.js';
import { TrainingProgress } from '../training-progress.js';
import { drawLog } from './chart.js';

type Stage = 'finetune' | 'distill';
type Run = (recipe: Recipe, options: RecipeRunOptions) => Promise<RecipeResult>;

export function finetuneCommand(): Command {
  return trainingCommand(
    'finetune',
    'trains the whole model on labelled or paired text: the first stage of a recipe, which makes a teacher',
    finetune,
  );
}

export function distillCommand(): Command {
  return trainingCommand(
    'distill',
    'trains all levels of an elastic checkpoint together against a teacher: all stages of a recipe',
    distill,
  );
}

function trainingCommand(stage: Stage, description: string, run: Run): Command {
  const command = new Command(stage).description(description);
  return addRecipeOptions(command).action(async (options: RecipeOptions) => {
    const recipe = await recipeOf(options, stage, command);
    report(await follow(run, recipe, options), options);
  });
}

/** Ctrl-C, and being told to end, let the run write its state first. */
async function follow(run: Run, recipe: Recipe, options: RecipeOptions): Promise<RecipeResult> {
  const progress = new TrainingProgress();
  const interruption = new AbortController();
  const interrupt = (): void => interruption.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    const result = await run(recipe, {
      ...given(options, 'maxMinutes'),
      resume: options.resume === true,
      signal: interruption.signal,
      onEvent: (event) => {
        progress.update(event);
        if (options.json === true && event.type !== 'progress') printJson(event);
      },
    });
    progress.stop();
    const folder = recipeFolders(recipe)[result.stage];
    await drawLog(join(folder, 'log.jsonl'), join(folder, 'chart.svg'), `${result.stage}: ${recipe.kind}`);
    return result;
  } finally {
    progress.stop();
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

function report(result: RecipeResult, options: RecipeOptions): void {
  if (options.json === true) {
    printJson({ type: 'result', ...result });
    return;
  }
  const { stage, step, model, metrics = {} } = result;
  if (model === undefined) {
    process.stdout.write(`${stage}: stopped after ${step} steps; --resume goes on\n`);
    return;
  }
  process.stdout.write(`${stage}: ${step} steps, ${model}\n`);
  const rows = Object.entries(metrics);
  const levels = [...new Set(rows.flatMap(([, byLevel]) => Object.keys(byLevel)))].sort(
    (a, b) => Number(b) - Number(a),
  );
  if (rows.length === 0) return;
  printTable(
    ['metric', ...levels.map((level) => `level ${level}`)],
    rows.map(([name, byLevel]) => [name, ...levels.map((level) => byLevel[level]?.toFixed(4) ?? '')]),
  );
}
