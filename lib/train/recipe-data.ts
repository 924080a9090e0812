/** The data that a recipe names, opened. */
import { readBeirCorpus, readBeirQrels, readBeirQueries, readGlue } from '../eval/index.js';
import { ElasticDenser } from '../heads/index.js';
import type { ImportanceLoss } from '../structure/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { loadBeirPairs } from './beir-pairs.js';
import { Exclusions, heldOutSplits } from './exclusions.js';
import { GlueData } from './glue-data.js';
import { MlmData } from './mlm-data.js';
import { RankingData } from './ranking-data.js';
import type { RecipeData, RecipeKind } from './recipe.js';
import { readTexts, type TrainingText } from './text-files.js';
import { TextData } from './text-data.js';
import { loadTextPairs } from './text-pairs.js';
import type { DescribedData } from './types.js';

export interface RecipeDataOptions {
  tokenizer: Tokenizer;
  /** folder of the checkpoint that finds hard negatives where the recipe names none */
  model: string;
  seed: number;
  threads?: number | undefined;
  /** bytes of files of running text, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

type TextSpec = Extract<RecipeData, { source: 'text' }>;
type BeirSpec = Extract<RecipeData, { source: 'beir' }>;

/** @throws what the readers of the files throw; ELASTICLM_CALL_ABORTED */
export async function openRecipeData(
  kind: RecipeKind,
  data: RecipeData,
  options: RecipeDataOptions,
): Promise<DescribedData> {
  const { tokenizer, onProgress } = options;
  const common = { maxLength: data.maxLength, seed: options.seed, signal: options.signal };
  switch (data.source) {
    case 'text': {
      const exclude = await exclusionsOf(data);
      const texts = await TextData.load(streamTexts(data, onProgress), tokenizer, {
        ...common,
        exclude,
        shares: data.shares,
        maxPassages: data.maxPassages,
      });
      return kind === 'mlm' ? new MlmData(texts, tokenizer) : texts;
    }
    case 'titles':
    case 'halves':
      return loadTextPairs(readTexts(data.paths, { onProgress }), tokenizer, {
        ...common,
        pairing: data.source === 'titles' ? 'title' : 'halves',
        exclude: await exclusionsOf(data),
        maxPairs: data.maxPairs,
        negativesPerPair: data.negativesPerPair,
      });
    case 'beir':
      return openBeir(data, options);
    case 'glue': {
      const { task, data: folder, split } = data;
      return GlueData.load(tokenizer, { ...common, task, data: folder, split });
    }
    case 'wikiqa': {
      const { data: folder, split, listSize, keepUnanswered } = data;
      return RankingData.load(tokenizer, { ...common, data: folder, split, listSize, keepUnanswered });
    }
  }
}

/** The data for a loss that importance is measured with: pairs of running text where a contrastive loss has none of its own. */
export function importanceDataOf(data: RecipeData, loss: ImportanceLoss): RecipeData {
  if (data.source !== 'text' || loss !== 'contrastive') return data;
  const { maxLength, exclude = [], paths = [] } = data;
  return { source: 'halves', maxLength, exclude, paths };
}

async function openBeir(data: BeirSpec, options: RecipeDataOptions): Promise<DescribedData> {
  const { tokenizer, threads, seed, signal } = options;
  const load = async (denser?: ElasticDenser): Promise<DescribedData> =>
    loadBeirPairs(tokenizer, {
      maxLength: data.maxLength,
      seed,
      signal,
      data: data.data,
      split: data.split,
      exclude: await exclusionsOf(data),
      negativesPerPair: data.negativesPerPair,
      hardNegatives: denser === undefined ? undefined : { denser, ...data.hardNegatives },
    });
  if (data.hardNegatives === undefined) return load();
  await using denser = await ElasticDenser.load(
    data.hardNegatives.model ?? options.model,
    threads === undefined ? {} : { threads },
  );
  return await load(denser);
}

async function exclusionsOf(data: Exclude<RecipeData, { source: 'glue' | 'wikiqa' }>): Promise<Exclusions> {
  const exclusions = new Exclusions();
  for (const collection of data.exclude ?? []) await exclusions.addCollection(collection);
  for (const { data: folder, split = 'train' } of data.source === 'text' ? (data.collections ?? []) : []) {
    await exclusions.addCollection({ data: folder, splits: await heldOutSplits(folder, split) });
  }
  return exclusions;
}

async function* streamTexts(
  { paths = [], collections = [], sentences = [] }: TextSpec,
  onProgress: RecipeDataOptions['onProgress'],
): AsyncGenerator<TrainingText> {
  yield* readTexts(paths, { onProgress });
  for (const { data, split = 'train' } of collections) {
    const qrels = await readBeirQrels(data, split);
    for await (const { id, text } of readBeirQueries(data)) if (qrels.has(id)) yield { title: '', text };
    for await (const { title, text } of readBeirCorpus(data)) yield { title, text };
  }
  for (const { task, data, split = 'train' } of sentences) {
    for await (const { texts } of readGlue(task, data, split)) {
      for (const text of typeof texts === 'string' ? [texts] : texts) yield { title: '', text };
    }
  }
}
