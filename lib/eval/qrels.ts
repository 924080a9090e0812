/** Judgments of a collection, and the queries that they are about. */
import { ElasticError } from '../errors.js';
import { dataError } from './lines.js';
import type { Qrels } from './ranking-metrics.js';
import type { Row } from './tables.js';

/** One query of a collection. */
export interface Query {
  id: string;
  text: string;
}

/** Where a table of judgments keeps what. */
export interface QrelsColumns {
  query: string;
  document: string;
  relevance: string;
}

/** @throws ELASTICLM_DATA_INVALID (naming file and line), also when a document is judged twice and not alike */
export async function gatherQrels(rows: AsyncIterable<Row>, columns: QrelsColumns): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>();
  for await (const row of rows) {
    const relevance = row.relevance(columns.relevance);
    const query = row.cell(columns.query);
    const document = row.cell(columns.document);
    let judgments = qrels.get(query);
    if (judgments === undefined) qrels.set(query, (judgments = new Map<string, number>()));
    const before = judgments.get(document) ?? relevance;
    if (before !== relevance) {
      throw dataError(row.place, `the relevance ${before}, as given before`, `${relevance}`);
    }
    judgments.set(document, relevance);
  }
  return qrels;
}

/**
 * The queries that are judged, in their own order.
 * @param source what `queries` come from, for the error
 * @throws ELASTICLM_DATA_INVALID when there is none, or one is missing
 */
export async function judgedQueries(
  queries: AsyncIterable<Query>,
  qrels: Qrels,
  source: string,
): Promise<Query[]> {
  const judged: Query[] = [];
  const unseen = new Set(qrels.keys());
  for await (const query of queries) {
    if (unseen.delete(query.id)) judged.push(query);
  }
  const [missing] = unseen;
  if (missing === undefined && judged.length > 0) return judged;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: 'every judged query, and at least one',
    subject: source,
    received:
      missing === undefined
        ? 'no judgments'
        : `judgments of query ${JSON.stringify(missing)}, which is not there`,
  });
}
