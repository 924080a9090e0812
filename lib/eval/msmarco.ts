/** MS MARCO passage ranking in its official files, all tab-separated and without header lines or quotes. */
import { findDataFile } from './data-files.js';
import { UniqueIds } from './lines.js';
import { gatherQrels, type Query } from './qrels.js';
import type { Qrels } from './ranking-metrics.js';
import { readTable } from './tables.js';

export interface MsMarcoPassage {
  id: string;
  text: string;
}

/** A passage to rank for a query, from a file of the best 1000. */
export interface MsMarcoCandidate {
  queryId: string;
  passageId: string;
  query: string;
  passage: string;
}

/** The 6,980 queries that results on "dev" are published on. */
export const msMarcoSplit = 'dev.small';

/**
 * The passages of `<folder>/collection.tsv`, streamed. Ids are not compared.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readMsMarcoCollection(folder: string): AsyncGenerator<MsMarcoPassage> {
  const path = await findDataFile({ folder, names: ['collection.tsv'] });
  for await (const row of readTable(path, { columns: ['id', 'text'] })) {
    yield { id: row.cell('id'), text: row.cell('text') };
  }
}

/** The queries of `<folder>/queries.<split>.tsv`, streamed. @throws as readMsMarcoCollection */
export async function* readMsMarcoQueries(folder: string, split = msMarcoSplit): AsyncGenerator<Query> {
  const ids = new UniqueIds();
  const path = await findDataFile({ folder, names: [`queries.${split}.tsv`] });
  for await (const row of readTable(path, { columns: ['id', 'text'] })) {
    yield { id: ids.add(row.cell('id'), row.place), text: row.cell('text') };
  }
}

/** The judgments of `<folder>/qrels.<split>.tsv`: query, an unused 0, passage, relevance. @throws as readMsMarcoCollection */
export async function readMsMarcoQrels(folder: string, split = msMarcoSplit): Promise<Qrels> {
  const path = await findDataFile({ folder, names: [`qrels.${split}.tsv`] });
  const rows = readTable(path, { columns: ['query', 'iteration', 'document', 'relevance'] });
  return gatherQrels(rows, { query: 'query', document: 'document', relevance: 'relevance' });
}

/**
 * The rows of `<folder>/top1000.<split>.tsv`, streamed; rows of one query need not follow each other. The official file is
 * `top1000.dev.tsv`, of the queries of dev.small.
 * @throws as readMsMarcoCollection
 */
export async function* readMsMarcoCandidates(
  folder: string,
  split = msMarcoSplit,
): AsyncGenerator<MsMarcoCandidate> {
  const names = [`top1000.${split}.tsv`, `top1000.${split.replace(/\.small$/, '')}.tsv`];
  const path = await findDataFile({ folder, names: [...new Set(names)] });
  for await (const row of readTable(path, { columns: ['queryId', 'passageId', 'query', 'passage'] })) {
    yield {
      queryId: row.cell('queryId'),
      passageId: row.cell('passageId'),
      query: row.cell('query'),
      passage: row.cell('passage'),
    };
  }
}
