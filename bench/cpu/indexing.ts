/** Part index: a collection's documents to vectors, from text, beside onnxruntime with length-sorted batches. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  documentText,
  ElasticDenser,
  packBatch,
  readBeirCorpus,
  Tokenizer,
  type Encoding,
} from '../../lib/index.js';
import { defaultModelDirectory } from '../../test/support/default-model.js';
import { floatForms, OnnxEncoder } from '../peers/onnxruntime.js';
import type { PeerModel } from '../peers/peer.js';
import { median } from '../timing.js';
import * as bar from './bars.js';
import { peerModel, withScratch } from './checkpoints.js';
import { UsageError, type BenchPrecision, type CpuBenchOptions } from './options.js';
import { fastestForms } from './peers.js';
import { Bars, type Ratio } from './ratio.js';

interface OwnResult {
  precision: BenchPrecision;
  isa: string;
  tokensPerSecond: number;
  /** over the peer's, part by part of the collection */
  speedup: Ratio;
}

interface IndexRun {
  documents: number;
  tokens: number;
  rounds: number;
  peer: { name: string; batching: string; tokenized: string; tokensPerSecond: number };
  own: OwnResult[];
  missed: string[];
}

/** Longer texts are cut, as in the acceptance runs on the same collection. */
const maxLength = 256;
const batchSize = 16;

/**
 * Each round takes another part of the documents (every rounds-th one), so that the whole collection is encoded once by
 * each subject, in turns.
 */
export function measureIndexing(options: CpuBenchOptions, threads: number): Promise<IndexRun> {
  const { precisions, rounds } = options;
  const folder = checkData(options.data);
  return withScratch(async (scratch) => {
    const texts = await readDocuments(folder, options.documents ?? Infinity);
    if (texts.length < rounds)
      throw new UsageError(`${texts.length} documents are too few for ${rounds} rounds`);
    const densers: ElasticDenser[] = [];
    let peer: OnnxEncoder | undefined;
    try {
      for (const precision of precisions) {
        const where = { backend: 'cpu', precision, threads } as const;
        densers.push(await ElasticDenser.load(defaultModelDirectory(), where));
      }
      const source = await peerModel(densers[0]!.model, scratch);
      const tokenizer = await Tokenizer.load(defaultModelDirectory());
      const encodings = texts.map((text) => tokenizer.encode(text, { maxLength }));
      peer = await fastestOnnx(source, encodings, threads);
      const times = await measureRounds({ texts, encodings, densers, peer }, rounds);
      return summarise({ options, threads, densers, peer, documents: texts.length, ...times });
    } finally {
      await peer?.close();
      for (const denser of densers) await denser.close();
    }
  });
}

/** @throws UsageError */
function checkData(folder: string | undefined): string {
  if (folder !== undefined && existsSync(path.join(folder, 'corpus.jsonl'))) return folder;
  throw new UsageError(
    `part index needs --data FOLDER with a collection in BEIR layout (corpus.jsonl), such as SciFact, received ` +
      (folder ?? 'none'),
  );
}

async function readDocuments(folder: string, most: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const document of readBeirCorpus(folder)) {
    if (texts.length >= most) break;
    texts.push(documentText(document));
  }
  return texts;
}

const countTokens = (encodings: readonly Encoding[]): number =>
  encodings.reduce((sum, { inputIds }) => sum + inputIds.length, 0);

function sortedByLength(encodings: readonly Encoding[]): Encoding[][] {
  const sorted = [...encodings].sort((a, b) => a.inputIds.length - b.inputIds.length);
  return Array.from({ length: Math.ceil(sorted.length / batchSize) }, (_, i) =>
    sorted.slice(i * batchSize, (i + 1) * batchSize),
  );
}

/** Sorting and padding are part of its work, as they are of a program that indexes with it. */
async function encodeSorted(peer: OnnxEncoder, encodings: readonly Encoding[]): Promise<void> {
  for (const part of sortedByLength(encodings)) await peer.prepare(packBatch(part))();
}

/** The faster of onnxruntime's f32 graphs on one batch of documents of middle length. */
async function fastestOnnx(
  source: PeerModel,
  encodings: readonly Encoding[],
  threads: number,
): Promise<OnnxEncoder> {
  const forms: OnnxEncoder[] = [];
  for (const form of floatForms) forms.push(await OnnxEncoder.load(source, form, threads));
  const parts = sortedByLength(encodings);
  const { kept } = await fastestForms(forms, [packBatch(parts[parts.length >> 1]!)]);
  const [fastest, ...others] = forms.filter((form) => kept.includes(form));
  for (const form of forms) if (form !== fastest) await form.close();
  if (others.length > 0) process.stderr.write(`  as fast as ${fastest!.name}: ${others[0]!.name}\n`);
  return fastest!;
}

interface Subjects {
  texts: readonly string[];
  encodings: readonly Encoding[];
  densers: readonly ElasticDenser[];
  peer: OnnxEncoder;
}

/** Tokens in all, and seconds of each round. */
interface Times {
  tokens: { own: number[]; peer: number };
  seconds: { own: number[][]; peer: number[] };
}

async function measureRounds({ texts, encodings, densers, peer }: Subjects, rounds: number): Promise<Times> {
  const tokens = { own: densers.map(() => 0), peer: 0 };
  const seconds = { own: densers.map((): number[] => []), peer: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const isMine = (_: unknown, i: number): boolean => i % rounds === round;
    const part = texts.filter(isMine);
    for (const [d, denser] of densers.entries()) {
      const start = performance.now();
      const { totalTokens } = await denser.encode(part, { kind: 'document', maxLength });
      seconds.own[d]!.push((performance.now() - start) / 1000);
      tokens.own[d]! += totalTokens;
    }
    const partEncodings = encodings.filter(isMine);
    const start = performance.now();
    await encodeSorted(peer, partEncodings);
    seconds.peer.push((performance.now() - start) / 1000);
    tokens.peer += countTokens(partEncodings);
    process.stderr.write(`  round ${round + 1} of ${rounds}\n`);
  }
  return { tokens, seconds };
}

interface Measured extends Times {
  options: CpuBenchOptions;
  threads: number;
  densers: readonly ElasticDenser[];
  peer: OnnxEncoder;
  documents: number;
}

function summarise({ options, threads, densers, peer, documents, tokens, seconds }: Measured): IndexRun {
  const bars = new Bars();
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  for (const own of tokens.own) {
    if (own !== tokens.peer) throw new Error(`we encoded ${own} tokens, the peer ${tokens.peer}`);
  }
  return {
    documents,
    tokens: tokens.peer,
    rounds: options.rounds,
    peer: {
      name: peer.name,
      batching: `length-sorted batches of ${batchSize}`,
      tokenized: 'by our tokenizer beforehand, outside of its time',
      tokensPerSecond: tokens.peer / sum(seconds.peer),
    },
    own: options.precisions.map((precision, d) => ({
      precision,
      isa: densers[d]!.model.info().isa,
      tokensPerSecond: tokens.own[d]! / sum(seconds.own[d]!),
      speedup: bars.ratio(
        `${precision}, indexing on ${threads} threads, over ${peer.name}`,
        median(seconds.own[d]!.map((own, round) => seconds.peer[round]! / own)),
        threads === 2 ? { atLeast: bar.indexingSpeedups[precision] } : {},
      ),
    })),
    missed: bars.missed,
  };
}
