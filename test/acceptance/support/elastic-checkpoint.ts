/** The default model, elasticised for one acceptance run. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { elasticize, type Level } from '../../../lib/index.js';
import { defaultModelDirectory } from '../../support/default-model.js';
import { dataPath } from './data.js';

export interface ElasticCheckpoint extends AsyncDisposable {
  directory: string;
  levels: Level[];
  /** what the ranking was measured on, for the record */
  calibration: { texts: string; examples: number; tokens: number };
}

export const acceptanceLevels = [1, 0.5, 0.25, 0.1];

/** General prose and science: neither the collections that are searched nor the sentences that are compared. */
const calibrationFiles = ['arxiv', 'wikipedia'];

/** Cuts the default model into `acceptanceLevels`, in a folder that goes away with the returned object. */
export async function elasticDefaultModel(examples: number): Promise<ElasticCheckpoint> {
  const folder = await mkdtemp(path.join(tmpdir(), 'elasticlm-acceptance-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const directory = path.join(folder, 'elastic');
    const result = await elasticize({
      model: defaultModelDirectory(),
      output: directory,
      texts: calibrationTexts(),
      levels: acceptanceLevels,
      maxExamples: examples,
      maxLength: 256,
    });
    return {
      directory,
      levels: result.levels,
      calibration: { texts: calibrationFiles.join(' + '), examples: result.examples, tokens: result.tokens },
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function* calibrationTexts(): AsyncGenerator<string> {
  for (const name of calibrationFiles) yield* passagesOf(dataPath('text', `${name}.jsonl.xz`));
}

async function* passagesOf(file: string): AsyncGenerator<string> {
  const unpack = spawn('xz', ['-dc', file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    unpack.on('error', (cause) => reject(new Error('acceptance runs need xz on PATH', { cause })));
    unpack.on('close', resolve);
  });
  // Awaited below; without this a missing xz would count as an unhandled rejection while its output is read.
  ended.catch(() => undefined);
  for await (const line of createInterface({ input: unpack.stdout })) {
    yield (JSON.parse(line) as { text: string }).text;
  }
  if ((await ended) !== 0) throw new Error(`xz could not unpack ${file}`);
}
