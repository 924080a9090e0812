/** Recipes on disk: paths in them are relative to where things lie. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ElasticError } from '../errors.js';
import { checkRecipe, type Recipe, type RecipeData } from './recipe.js';

export interface RecipeFileOptions {
  /** folder that the data's paths are relative to; default the recipe's own folder */
  data?: string | undefined;
  /** fields that replace those of the file, at any depth; paths in them are relative to the working directory */
  overrides?: object | undefined;
}

/** The models' paths and the output's are relative to the recipe's folder. @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_RECIPE_INVALID */
export async function readRecipe(path: string, options: RecipeFileOptions = {}): Promise<Recipe> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_NOT_FOUND',
      { expected: 'a recipe', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_RECIPE_INVALID',
      { expected: 'JSON', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
  const folder = dirname(path);
  const base = { data: options.data ?? folder, models: folder };
  // Checked before anything is added, so that an error names the file for what it says itself.
  const recipe = resolvePaths(checkRecipe(value, path), base);
  return options.overrides === undefined
    ? recipe
    : checkRecipe(mergeRecipe(recipe, options.overrides), `${path} with the options given`);
}

/** Two ways to say one thing: who gives one takes the other away. */
const rivals: Readonly<Record<string, string>> = { steps: 'epochs', epochs: 'steps' };

/** Objects are merged field by field; everything else replaces what was there, and undefined leaves it. */
export function mergeRecipe(base: object, overrides: object): object {
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined);
  const replaced = given.flatMap(([name]) => rivals[name] ?? []);
  const kept = Object.entries(base).filter(([name]) => !replaced.includes(name));
  const merged: Record<string, unknown> = Object.fromEntries(kept);
  for (const [name, value] of given as [string, unknown][]) {
    const before = merged[name];
    merged[name] = isPlainObject(before) && isPlainObject(value) ? mergeRecipe(before, value) : value;
  }
  return merged;
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface Bases {
  data: string;
  models: string;
}

function resolvePaths(recipe: Recipe, bases: Bases): Recipe {
  const { evaluation, elasticize, student, teacher } = recipe;
  const model = (path: string): string => resolve(bases.models, path);
  return {
    ...recipe,
    model: model(recipe.model),
    output: model(recipe.output),
    ...(student === undefined ? {} : { student: model(student) }),
    ...(teacher === undefined ? {} : { teacher: model(teacher) }),
    data: resolveData(recipe.data, bases),
    ...(elasticize?.data === undefined
      ? {}
      : { elasticize: { ...elasticize, data: resolveData(elasticize.data, bases) } }),
    ...(evaluation === undefined
      ? {}
      : {
          evaluation: {
            ...evaluation,
            tasks: evaluation.tasks.map((task) => ({ ...task, data: resolve(bases.data, task.data) })),
          },
        }),
  };
}

function resolveData(data: RecipeData, bases: Bases): RecipeData {
  const path = (relative: string): string => resolve(bases.data, relative);
  const located = <Item extends { data: string }>(items: readonly Item[] | undefined): Item[] =>
    (items ?? []).map((item) => ({ ...item, data: path(item.data) }));
  switch (data.source) {
    case 'text':
      return {
        ...data,
        paths: (data.paths ?? []).map(path),
        collections: located(data.collections),
        sentences: located(data.sentences),
        exclude: located(data.exclude),
      };
    case 'titles':
    case 'halves':
      return { ...data, paths: data.paths.map(path), exclude: located(data.exclude) };
    case 'beir': {
      const { hardNegatives } = data;
      const moved = { ...data, data: path(data.data), exclude: located(data.exclude) };
      if (hardNegatives?.model === undefined) return moved;
      return {
        ...moved,
        hardNegatives: { ...hardNegatives, model: resolve(bases.models, hardNegatives.model) },
      };
    }
    default:
      return { ...data, data: path(data.data) };
  }
}
