/**
 * What bf16 and int8 cost in quality, level by level, beside f32: nDCG@10 on SciFact and Cranfield, Spearman on STS-B, and the
 * cosine of SciFact's vectors to those of f32. One run per level in docs/results/precision.json:
 *
 *   npm run bench:quality -- [--data ../shared/data] [--model ELASTIC] [--levels 1,0.5,0.25,0.1] [--precision f32,bf16,i8]
 *                            [--collections scifact,cranfield] [--threads 2] [--out docs/results/precision.json]
 *
 * Without --model the default model is cut as in the acceptance run `retrieval`. The data is laid out as docs/results/README.md
 * says. It ends with 1 when a bar is missed.
 */
import { parseArgs } from 'node:util';
import {
  documentText,
  ElasticDenser,
  evaluateSts,
  ndcgAt,
  rankRun,
  readBeirCorpus,
  readBeirQrels,
  readBeirQueries,
  VectorIndex,
  type Qrels,
} from '../lib/index.js';
import { dataPath } from '../test/acceptance/support/data.js';
import { elasticDefaultModel } from '../test/acceptance/support/elastic-checkpoint.js';
import { rowCosines } from './cpu/cosine.js';
import { Bars, type Ratio } from './cpu/ratio.js';
import { writeRun } from './record.js';

type QualityPrecision = 'f32' | 'bf16' | 'i8';

/** Largest difference of nDCG@10 to f32, at every level. */
const ndcgBars = { bf16: 0.002, i8: 0.006 };
/** Least mean cosine of SciFact's documents to those of f32, at every level. */
const cosineBars = { bf16: 0.9998, i8: 0.998 };
const cosineCollection = 'scifact';

/** As in the acceptance run `retrieval`, so that f32 here is what is recorded there. */
const maxLength = 256;
const calibrationExamples = 1024;
const topK = 100;

interface Collection {
  name: string;
  ids: string[];
  documents: string[];
  queryIds: string[];
  queries: string[];
  qrels: Qrels;
}

interface RetrievalQuality {
  collection: string;
  precision: QualityPrecision;
  /** level of the documents' vectors, at the same precision as the queries' */
  indexLevel: number;
  'ndcg@10': number;
  /** absolute, of nDCG@10 to that of f32; absent at f32 */
  difference?: Ratio;
}

interface StsQuality {
  precision: QualityPrecision;
  spearman: number;
  difference?: Ratio;
}

interface CosineQuality {
  precision: QualityPrecision;
  mean: Ratio;
  min: number;
}

interface LevelQuality {
  maxLength: number;
  retrieval: RetrievalQuality[];
  sts: StsQuality[];
  cosines: CosineQuality[];
  missed: string[];
}

/** [documents, dims] of each collection at level 1, for the lower levels' queries against that index. */
type LevelOneVectors = Map<string, Float32Array>;

interface LoadedDenser {
  precision: QualityPrecision;
  denser: ElasticDenser;
  levelOne: LevelOneVectors;
}

async function readCollection(name: string): Promise<Collection> {
  const folder = dataPath(name);
  const qrels = await readBeirQrels(folder, 'test');
  const collection: Collection = { name, ids: [], documents: [], queryIds: [], queries: [], qrels };
  for await (const document of readBeirCorpus(folder)) {
    collection.ids.push(document.id);
    collection.documents.push(documentText(document));
  }
  for await (const { id, text } of readBeirQueries(folder)) {
    if (!qrels.has(id)) continue;
    collection.queryIds.push(id);
    collection.queries.push(text);
  }
  return collection;
}

/** Mean nDCG@10 of queries [Q, dims] against documents [N, dims]. */
async function ndcgOf(
  { ids, queryIds, qrels }: Collection,
  queries: Float32Array,
  vectors: Float32Array,
): Promise<number> {
  const dims = vectors.length / ids.length;
  await using index = await VectorIndex.from({ ids, vectors, dims });
  const hits = await index.search(queries, { topK });
  const sum = queryIds.reduce((total, id, q) => total + ndcgAt(rankRun(hits[q]!), qrels.get(id)!, 10), 0);
  return sum / queryIds.length;
}

/** Measures one level at all precisions: every corpus is encoded once by each. */
class LevelRun {
  private readonly bars = new Bars();
  private readonly result: LevelQuality;

  constructor(
    private readonly level: number,
    private readonly densers: readonly LoadedDenser[],
  ) {
    this.result = { maxLength, retrieval: [], sts: [], cosines: [], missed: this.bars.missed };
  }

  async measure(collections: readonly Collection[]): Promise<LevelQuality> {
    for (const collection of collections) await this.measureCollection(collection);
    await this.measureSts();
    return this.result;
  }

  private async measureCollection(collection: Collection): Promise<void> {
    let floats: Float32Array | undefined;
    for (const { precision, denser, levelOne } of this.densers) {
      const options = { level: this.level, maxLength };
      const { data } = await denser.encode(collection.documents, { ...options, kind: 'document' });
      const queries = (await denser.encode(collection.queries, { ...options, kind: 'query' })).data;
      if (this.level === 1) levelOne.set(collection.name, data);
      await this.addRetrieval(collection, precision, { queries, vectors: data, indexLevel: this.level });
      const wholeIndex = this.level === 1 ? undefined : levelOne.get(collection.name);
      if (wholeIndex !== undefined)
        await this.addRetrieval(collection, precision, { queries, vectors: wholeIndex, indexLevel: 1 });
      if (precision === 'f32') floats = data;
      else if (floats !== undefined && collection.name === cosineCollection)
        this.addCosines(precision, rowCosines(floats, data, denser.dims));
    }
  }

  private async addRetrieval(
    collection: Collection,
    precision: QualityPrecision,
    run: { queries: Float32Array; vectors: Float32Array; indexLevel: number },
  ): Promise<void> {
    const { retrieval } = this.result;
    const { indexLevel } = run;
    const ndcg = await ndcgOf(collection, run.queries, run.vectors);
    const what = `${collection.name}, level ${this.level}, index level ${indexLevel}, ${precision}`;
    process.stderr.write(`  ${what}: nDCG@10 ${ndcg.toFixed(4)}\n`);
    const entry: RetrievalQuality = { collection: collection.name, precision, indexLevel, 'ndcg@10': ndcg };
    const floats = retrieval.find(
      (other) =>
        other.collection === collection.name && other.precision === 'f32' && other.indexLevel === indexLevel,
    );
    if (precision !== 'f32' && floats !== undefined) {
      const difference = Math.abs(ndcg - floats['ndcg@10']);
      entry.difference = this.bars.ratio(`${what}, nDCG@10 off f32`, difference, {
        atMost: ndcgBars[precision],
      });
    }
    retrieval.push(entry);
  }

  private addCosines(precision: 'bf16' | 'i8', cosines: readonly number[]): void {
    const mean = cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
    this.result.cosines.push({
      precision,
      mean: this.bars.ratio(`level ${this.level}, ${precision}, mean cosine to f32`, mean, {
        atLeast: cosineBars[precision],
      }),
      min: cosines.reduce((least, cosine) => Math.min(least, cosine), 1),
    });
  }

  private async measureSts(): Promise<void> {
    const { sts } = this.result;
    for (const { precision, denser } of this.densers) {
      const options = { denser, data: dataPath('glue', 'STS-B'), levels: [this.level], maxLength };
      for await (const { spearman } of evaluateSts(options)) {
        const entry: StsQuality = { precision, spearman };
        const floats = sts.find((other) => other.precision === 'f32');
        if (floats !== undefined) {
          const difference = Math.abs(spearman - floats.spearman);
          entry.difference = this.bars.ratio(
            `STS-B, level ${this.level}, ${precision}, Spearman off f32`,
            difference,
          );
        }
        sts.push(entry);
      }
    }
  }
}

interface QualityOptions {
  model: string;
  levels: number[];
  precisions: QualityPrecision[];
  collections: string[];
  threads: number;
  out: string;
}

async function measure(options: QualityOptions): Promise<string[]> {
  const missed: string[] = [];
  const densers: LoadedDenser[] = [];
  try {
    for (const precision of options.precisions) {
      const where = { backend: 'cpu', precision, threads: options.threads } as const;
      const denser = await ElasticDenser.load(options.model, where);
      densers.push({ precision, denser, levelOne: new Map() });
    }
    const collections = await Promise.all(options.collections.map(readCollection));
    for (const level of options.levels) {
      const result = await new LevelRun(level, densers).measure(collections);
      writeRun(options.out, { level }, result);
      missed.push(...result.missed);
    }
  } finally {
    for (const { denser } of densers) await denser.close();
  }
  return missed;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      model: { type: 'string' },
      levels: { type: 'string', default: '1,0.5,0.25,0.1' },
      precision: { type: 'string', default: 'f32,bf16,i8' },
      collections: { type: 'string', default: 'scifact,cranfield' },
      threads: { type: 'string', default: '2' },
      out: { type: 'string', default: 'docs/results/precision.json' },
    },
  });
  // what the acceptance runs' helpers read
  if (values.data !== undefined) process.env['ELASTICLM_DATA'] = values.data;
  await using cut = values.model === undefined ? await elasticDefaultModel(calibrationExamples) : undefined;
  const missed = await measure({
    model: values.model ?? cut!.directory,
    levels: values.levels.split(',').map(Number),
    // f32 first: the others are compared with it
    precisions: (values.precision.split(',') as QualityPrecision[]).sort(
      (a, b) => Number(b === 'f32') - Number(a === 'f32'),
    ),
    collections: values.collections.split(','),
    threads: Number(values.threads),
    out: values.out,
  });
  if (missed.length === 0) return;
  process.stderr.write(`bars missed:\n${missed.map((line) => `  ${line}\n`).join('')}`);
  process.exitCode = 1;
}

await main();
