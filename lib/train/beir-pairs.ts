/** Pairs out of a retrieval collection's train judgments. */
import { documentText, readBeirCorpus, readBeirQrels, readBeirQueries } from '../eval/index.js';
import type { ElasticDenser } from '../heads/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { checkDataOptions } from './data-options.js';
import { Exclusions, heldOutSplits } from './exclusions.js';
import { mineHardNegatives, type HardNegativeOptions } from './hard-negatives.js';
import { PairData, type PairDataOptions } from './pair-data.js';
import { Slices } from '../slices.js';

export interface BeirPairsOptions extends PairDataOptions {
  /** folder in BEIR layout */
  data: string;
  /** default train */
  split?: string | undefined;
  /** kept out beside the queries and relevant passages of this collection's other splits */
  exclude?: Exclusions | undefined;
  /** who finds hard negatives, and how; absent: none */
  hardNegatives?: (HardNegativeOptions & { denser: ElasticDenser }) | undefined;
}

/** Texts of a collection that may be trained on. */
interface TrainableCollection {
  queries: string[];
  documents: string[];
  /** [queries] positions of documents */
  answers: number[][];
}

/**
 * Every (query, relevant document) of the split, with hard negatives where asked for. A query of another split and a passage
 * that answers one are left out altogether, as negatives too, whatever id they have here.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID, ELASTICLM_ARGUMENT_INVALID
 */
export async function loadBeirPairs(tokenizer: Tokenizer, options: BeirPairsOptions): Promise<PairData> {
  const { signal } = checkDataOptions(options);
  const collection = await readTrainable(options);
  const { hardNegatives } = options;
  const mined =
    hardNegatives === undefined
      ? undefined
      : await mineHardNegatives(hardNegatives.denser, collection, { signal, ...hardNegatives });
  const data = new PairData(tokenizer, options);
  const slices = new Slices(signal);
  const added = new Map<number, number>();
  const addDocument = (document: number): number => {
    const known = added.get(document);
    if (known !== undefined) return known;
    const position = data.addText(collection.documents[document]!);
    added.set(document, position);
    return position;
  };
  for (const [idx, text] of collection.queries.entries()) {
    const query = data.addText(text);
    const negatives = (mined?.[idx] ?? []).map(addDocument);
    for (const answer of collection.answers[idx]!) {
      data.addPair({ query, document: addDocument(answer), negatives });
    }
    if (slices.isOver) await slices.next();
  }
  return data;
}

async function readTrainable(options: BeirPairsOptions): Promise<TrainableCollection> {
  const { data, split = 'train', exclude } = options;
  const heldOut = new Exclusions();
  await heldOut.addCollection({ data, splits: await heldOutSplits(data, split) });
  const isHeldOut = (text: string): boolean => heldOut.has(text) || exclude?.has(text) === true;
  const positions = new Map<string, number>();
  const documents: string[] = [];
  for await (const document of readBeirCorpus(data)) {
    if (heldOut.hasPassage(document) || exclude?.hasPassage(document) === true) continue;
    positions.set(document.id, documents.length);
    documents.push(documentText(document));
  }
  const qrels = await readBeirQrels(data, split);
  const queries: string[] = [];
  const answers: number[][] = [];
  for await (const { id, text } of readBeirQueries(data)) {
    const judgments = qrels.get(id);
    if (judgments === undefined || isHeldOut(text)) continue;
    const relevant = [...judgments].filter(
      ([document, relevance]) => relevance > 0 && positions.has(document),
    );
    if (relevant.length === 0) continue;
    queries.push(text);
    answers.push(relevant.map(([document]) => positions.get(document)!));
  }
  return { queries, documents, answers };
}
