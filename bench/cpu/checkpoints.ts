/** The checkpoints that are measured, and what other runtimes are built from. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { elasticize, type ElasticModel } from '../../lib/index.js';
import { writeTinyCheckpoint } from '../../test/support/checkpoint.js';
import { defaultModelDirectory } from '../../test/support/default-model.js';
import { readSafetensors } from '../../test/support/safetensors.js';
import type { PeerModel } from '../peers/peer.js';

export const levels = [1, 0.5, 0.25, 0.1];

/** Runs `use` with a folder that goes away afterwards. */
export async function withScratch<Result>(use: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(path.join(tmpdir(), 'elasticlm-bench-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Calibration text for cutting the model: this repository's own documentation, a paragraph each. */
async function documentation(): Promise<string[]> {
  const files = ['README.md', 'docs/architecture.md'];
  const texts = await Promise.all(
    files.map((file) => readFile(new URL(`../../${file}`, import.meta.url), 'utf8')),
  );
  return texts.join('\n\n').split(/\n\s*\n/);
}

/** The default model, cut into `levels`. Which heads and neurons are kept does not matter to the time. */
export async function elasticMiniLm(scratch: string): Promise<string> {
  const output = path.join(scratch, 'elastic');
  await elasticize({ model: defaultModelDirectory(), output, texts: await documentation(), levels });
  return output;
}

/** A checkpoint of BERT-base's shape with seeded random weights. */
export function bertBase(scratch: string): string {
  const { directory } = writeTinyCheckpoint(path.join(scratch, 'bert-base'), {
    layers: 12,
    heads: 12,
    headDim: 64,
    neurons: 3072,
    vocabSize: 30522,
    maxPositions: 512,
    pooler: false,
  });
  return directory;
}

/** Tensors are read once and kept. `model` may run at any precision: only its files and configuration are used. */
export async function peerModel(model: ElasticModel, scratch: string): Promise<PeerModel> {
  const tensors = readSafetensors(model.checkpoint.files);
  const tokenizerPath = path.join(defaultModelDirectory(), 'tokenizer.json');
  const files = path.join(scratch, 'peers');
  await mkdir(files, { recursive: true });
  return {
    config: model.config,
    read: (name) => {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new Error(`the checkpoint in ${model.directory} has no tensor ${name}`);
      return tensor.values;
    },
    vocabulary: vocabularyOf(await readFile(tokenizerPath, 'utf8')),
    tokenizerPath,
    scratch: files,
  };
}

function vocabularyOf(tokenizerJson: string): string[] {
  const { model } = JSON.parse(tokenizerJson) as { model: { vocab: Record<string, number> } };
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  return tokens;
}
