/** Retrieval collections in BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`. */
import { join } from 'node:path';
import { readJsonLines, stringField, UniqueIds } from './lines.js';
import { gatherQrels, type Query } from './qrels.js';
import type { Qrels } from './ranking-metrics.js';
import { readTable } from './tables.js';

export interface BeirDocument {
  id: string;
  title: string;
  text: string;
}

export type BeirQuery = Query;

/** The text that is encoded for a document: title and text joined by one space, as BEIR's models do. */
export function documentText({ title, text }: Pick<BeirDocument, 'title' | 'text'>): string {
  return `${title} ${text}`.trim();
}

/**
 * The documents of `<folder>/corpus.jsonl`, streamed. A missing title is an empty one.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readBeirCorpus(folder: string): AsyncGenerator<BeirDocument> {
  const ids = new UniqueIds();
  for await (const record of readJsonLines(join(folder, 'corpus.jsonl'))) {
    const id = ids.add(stringField(record, '_id'), record.place);
    const title = record.fields['title'] === undefined ? '' : stringField(record, 'title');
    yield { id, title, text: stringField(record, 'text') };
  }
}

/** The queries of `<folder>/queries.jsonl`, streamed. @throws as readBeirCorpus */
export async function* readBeirQueries(folder: string): AsyncGenerator<BeirQuery> {
  const ids = new UniqueIds();
  for await (const record of readJsonLines(join(folder, 'queries.jsonl'))) {
    yield { id: ids.add(stringField(record, '_id'), record.place), text: stringField(record, 'text') };
  }
}

/** The judgments of `<folder>/qrels/<split>.tsv`. @throws as readBeirCorpus */
export function readBeirQrels(folder: string, split: string): Promise<Qrels> {
  const columns = { query: 'query-id', document: 'corpus-id', relevance: 'score' };
  const rows = readTable(join(folder, 'qrels', `${split}.tsv`), { needs: Object.values(columns) });
  return gatherQrels(rows, columns);
}
