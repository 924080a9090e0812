/** Texts that are evaluated on, and so never trained on. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import { readBeirCorpus, readBeirQrels, readBeirQueries } from '../eval/index.js';
import type { TrainingText } from './text-files.js';

/** A retrieval collection whose queries, and passages that answer them, are kept out. */
export interface ExcludedCollection {
  /** folder in BEIR layout */
  data: string;
  /** default: all that its `qrels` folder holds but train */
  splits?: readonly string[] | undefined;
}

/** Compares texts by their letters and digits, so that case, spaces and punctuation hide nothing. */
export class Exclusions {
  readonly #texts = new Set<string>();

  add(text: string): void {
    this.#texts.add(essenceOf(text));
  }

  /** @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID */
  async addCollection({ data, splits }: ExcludedCollection): Promise<void> {
    const queries = new Set<string>();
    const documents = new Set<string>();
    for (const split of splits ?? (await heldOutSplits(data, 'train'))) {
      for (const [query, judgments] of await readBeirQrels(data, split)) {
        queries.add(query);
        for (const [document, relevance] of judgments) if (relevance > 0) documents.add(document);
      }
    }
    for await (const { id, text } of readBeirQueries(data)) if (queries.has(id)) this.add(text);
    for await (const { id, ...document } of readBeirCorpus(data))
      if (documents.has(id)) this.addPassage(document);
  }

  addPassage({ title, text }: TrainingText): void {
    this.add(text);
    this.add(`${title} ${text}`);
  }

  has(text: string): boolean {
    return this.#texts.has(essenceOf(text));
  }

  /** Whether the passage, with its title or without, or its title alone is kept out. */
  hasPassage({ title, text }: TrainingText): boolean {
    if (this.#texts.size === 0) return false;
    return this.has(text) || (title !== '' && (this.has(title) || this.has(`${title} ${text}`)));
  }
}

/** Splits of a collection's `qrels` folder but the one that is trained on. */
export async function heldOutSplits(folder: string, trained: string): Promise<string[]> {
  const qrels = join(folder, 'qrels');
  let names: string[];
  try {
    names = await readdir(qrels);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_NOT_FOUND',
      { expected: 'a folder of judgments', subject: qrels, received: (cause as Error).message },
      { cause },
    );
  }
  const splits = names.filter((name) => name.endsWith('.tsv')).map((name) => name.slice(0, -'.tsv'.length));
  return splits.filter((split) => split !== trained).sort();
}

function essenceOf(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '');
}
