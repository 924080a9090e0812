/** Retrieval collections in BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`. */
import { join } from 'node:path';
import { dataError, readJsonLines, readTable, type Place } from './lines.js';
import type { Qrels } from './ranking-metrics.js';

export interface BeirDocument {
  id: string;
  title: string;
  text: string;
}

export interface BeirQuery {
  id: string;
  text: string;
}

/** The text that is encoded for a document: title and text joined by one space, as BEIR's models do. */
export function documentText({ title, text }: BeirDocument): string {
  return `${title} ${text}`.trim();
}

/**
 * The documents of `<folder>/corpus.jsonl`, streamed. A missing title is an empty one.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readBeirCorpus(folder: string): AsyncGenerator<BeirDocument> {
  const ids = new UniqueIds();
  for await (const { fields, place } of readJsonLines(join(folder, 'corpus.jsonl'))) {
    const id = ids.add(stringField(fields, '_id', place), place);
    const title = fields['title'] === undefined ? '' : stringField(fields, 'title', place);
    yield { id, title, text: stringField(fields, 'text', place) };
  }
}

/** The queries of `<folder>/queries.jsonl`, streamed. @throws as readBeirCorpus */
export async function* readBeirQueries(folder: string): AsyncGenerator<BeirQuery> {
  const ids = new UniqueIds();
  for await (const { fields, place } of readJsonLines(join(folder, 'queries.jsonl'))) {
    yield { id: ids.add(stringField(fields, '_id', place), place), text: stringField(fields, 'text', place) };
  }
}

/** The judgments of `<folder>/qrels/<split>.tsv`. @throws as readBeirCorpus */
export async function readBeirQrels(folder: string, split: string): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>();
  const path = join(folder, 'qrels', `${split}.tsv`);
  for await (const row of readTable(path, { needs: ['query-id', 'corpus-id', 'score'] })) {
    const relevance = row.number('score');
    if (!Number.isInteger(relevance)) throw dataError(row.place, 'a whole relevance', row.cell('score'));
    const query = row.cell('query-id');
    let judgments = qrels.get(query);
    if (judgments === undefined) qrels.set(query, (judgments = new Map<string, number>()));
    judgments.set(row.cell('corpus-id'), relevance);
  }
  return qrels;
}

function stringField(fields: Record<string, unknown>, name: string, place: Place): string {
  const value = fields[name];
  if (typeof value === 'string') return value;
  throw dataError(
    place,
    `a string in ${JSON.stringify(name)}`,
    value === undefined ? 'none' : JSON.stringify(value).slice(0, 40),
  );
}

class UniqueIds {
  readonly #seen = new Set<string>();

  add(id: string, place: Place): string {
    if (this.#seen.has(id)) throw dataError(place, 'an _id of its own', `${JSON.stringify(id)} again`);
    this.#seen.add(id);
    return id;
  }
}
