/** Which runtimes stand beside us at a precision, loaded, checked and thinned out. */
import type { ElasticModel, PackedBatch } from '../../lib/index.js';
import { LlamaCppEncoder } from '../peers/llama-cpp.js';
import { floatForms, int8Forms, OnnxEncoder } from '../peers/onnxruntime.js';
import type { Peer, PeerModel } from '../peers/peer.js';
import { TransformersEncoder } from '../peers/transformers.js';
import { alternate, median } from '../timing.js';
import { rowCosines } from './cosine.js';
import type { BenchPrecision } from './options.js';

export const pooledOptions = { output: 'pooled', pooling: 'mean', normalize: true } as const;

/** A runtime that cannot be had here. */
export interface MissingPeer {
  name: string;
  notAvailable: string;
}

export interface LoadedPeers {
  peers: Peer[];
  missing: MissingPeer[];
}

interface PeerChoice {
  name: string;
  load: () => Promise<Peer>;
}

/**
 * f32 and int8 beside the same. onnxruntime and transformers.js have no bf16 on CPUs, so bf16 stands beside their f32;
 * llama.cpp stands with both of its 16-bit forms.
 */
function choices(source: PeerModel, precision: BenchPrecision, threads: number): PeerChoice[] {
  const isInt8 = precision === 'i8';
  const forms = isInt8 ? int8Forms : floatForms;
  const dtypes = { f32: ['F32'], bf16: ['BF16', 'F16'], i8: ['Q8_0'] } as const;
  return [
    ...forms.map((form) => ({
      name: 'onnxruntime-node',
      load: () => OnnxEncoder.load(source, form, threads),
    })),
    {
      name: '@huggingface/transformers',
      load: () => TransformersEncoder.load(source, isInt8 ? 'q8' : 'fp32', threads),
    },
    ...dtypes[precision].map((dtype) => ({
      name: `node-llama-cpp, ${dtype}`,
      load: () => LlamaCppEncoder.load(source, dtype, threads),
    })),
  ];
}

/** Only onnxruntime has bars, so a run without it makes no sense; of the others a record says why they are missing. */
export async function loadPeers(
  source: PeerModel,
  precision: BenchPrecision,
  threads: number,
): Promise<LoadedPeers> {
  const loaded: LoadedPeers = { peers: [], missing: [] };
  for (const { name, load } of choices(source, precision, threads)) {
    try {
      loaded.peers.push(await load());
    } catch (error) {
      if (name === 'onnxruntime-node') throw error;
      const notAvailable = error instanceof Error ? error.message : String(error);
      process.stderr.write(`${name} is not available: ${notAvailable}\n`);
      loaded.missing.push({ name, notAvailable });
    }
  }
  return loaded;
}

export async function closePeers({ peers }: LoadedPeers): Promise<void> {
  for (const peer of peers) await peer.close();
}

/** 16-bit weights (8 bits of mantissa in bf16) move a unit vector by about 2^-8: a cosine of 1 - 2^-17, far above this. */
const minCosine = 0.999;

/**
 * A comparison of speeds only counts between runtimes that compute the same model: each of a peer's vectors must be nearer
 * to our f32 vector of its text than to that of any other text (8-bit forms differ too much among themselves for a fixed
 * limit), and the cosine high unless it is an 8-bit form. Returns each peer's worst cosine.
 */
export async function checkPeers(
  reference: ElasticModel,
  peers: readonly Peer[],
  batch: PackedBatch,
  precision: BenchPrecision,
): Promise<number[]> {
  const { data, dims } = await reference.forward(batch, pooledOptions);
  const worst: number[] = [];
  for (const peer of peers) {
    const theirs = await peer.prepare(batch)();
    const own = rowCosines(data, theirs, dims);
    const others = nearestOther(data, theirs, dims);
    for (const [b, cosine] of own.entries()) {
      if (cosine > others[b]! && (precision === 'i8' || cosine >= minCosine)) continue;
      throw new Error(
        `${peer.name}: the vector of sequence ${b} has cosine ${cosine} to ours in f32, ${others[b]!} to another one's`,
      );
    }
    worst.push(Math.min(...own));
  }
  return worst;
}

/** [B] for each row of theirs the highest cosine to a row of ours at another position. */
function nearestOther(ours: Float32Array, theirs: Float32Array, dims: number): number[] {
  const numRows = ours.length / dims;
  const nearest = new Array<number>(numRows).fill(-1);
  const rotated = new Float32Array(ours.length);
  for (let shift = 1; shift < numRows; shift++) {
    rotated.set(ours.subarray(shift * dims));
    rotated.set(ours.subarray(0, shift * dims), (numRows - shift) * dims);
    rowCosines(rotated, theirs, dims).forEach((cosine, b) => {
      nearest[b] = Math.max(nearest[b]!, cosine);
    });
  }
  return nearest;
}

/** A way of computing that was tried at a shape and was not the fastest of its runtime. */
export interface SlowerForm {
  name: string;
  medianMs: number;
}

/** Rounds of the trial with how far from the fastest a form may be and stay: far after one, near after three. */
const trials = [
  { rounds: 1, margin: 1.3 },
  // within this, forms may trade places in the rounds that count, so they all take part
  { rounds: 3, margin: 1.08 },
];

/** Keeps the fastest of each runtime's several forms at one batch. */
export async function fastestForms(
  peers: readonly Peer[],
  batches: readonly PackedBatch[],
): Promise<{ kept: Peer[]; slower: SlowerForm[] }> {
  const kept: Peer[] = [];
  const slower: SlowerForm[] = [];
  for (const runtime of new Set(peers.map((peer) => peer.runtime))) {
    let forms = peers.filter((peer) => peer.runtime === runtime);
    for (const { rounds, margin } of trials) {
      if (forms.length === 1) break;
      const subjects = forms.map((form) => subjectOf(form, batches));
      const medians = (await alternate(subjects, rounds)).ms.map(median);
      const limit = Math.min(...medians) * margin;
      const stays = forms.map((_, i) => medians[i]! <= limit);
      slower.push(...forms.flatMap(({ name }, i) => (stays[i]! ? [] : [{ name, medianMs: medians[i]! }])));
      forms = forms.filter((_, i) => stays[i]!);
    }
    kept.push(...forms);
  }
  return { kept, slower };
}

/** Runs batches one after another, each brought into the peer's form beforehand. */
export function subjectOf(peer: Peer, batches: readonly PackedBatch[]): () => Promise<void> {
  const runs = batches.map((batch) => peer.prepare(batch));
  return async () => {
    for (const run of runs) await run();
  };
}
