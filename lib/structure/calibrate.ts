/** Runs calibration texts through the whole model and adds up what its heads and neurons do. */
import { packBatch, splitByTokens } from '../batch/index.js';
import type { ActivationSums } from '../binding/index.js';
import { ElasticError } from '../errors.js';
import type { ElasticModel } from '../model/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { Encoding } from '../types.js';

export interface CalibrationOptions {
  /** longest sequence in tokens; the rest of a text is cut off */
  maxLength: number;
  /** after each batch: texts done, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Texts tokenised at a time: a few milliseconds at most, before the event loop has its turn. */
const textsPerPart = 16;
/** Tokens of one batch: enough to occupy all threads, and a bound on how long an abort can wait. */
const batchTokens = 4096;

/** Sums over all tokens of all texts, added in the texts' order: the same bits for the same texts. */
export async function calibrate(
  model: ElasticModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: CalibrationOptions,
): Promise<ActivationSums> {
  const { maxLength, onProgress, signal } = options;
  let total: ActivationSums | undefined;
  let done = 0;
  for (let begin = 0; begin < texts.length; begin += textsPerPart) {
    const encodings = texts
      .slice(begin, begin + textsPerPart)
      .map((text): Encoding => tokenizer.encode(text, { maxLength }));
    for (const run of splitByTokens(encodings, batchTokens)) {
      const sums = await model.calibrate(packBatch(run), signal === undefined ? {} : { signal });
      total = total === undefined ? sums : add(total, sums);
      done += run.length;
      onProgress?.(done, texts.length);
    }
  }
  if (total !== undefined) return total;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: 'at least one text to calibrate with',
    subject: 'texts',
    received: 'none, or only empty ones',
  });
}

function add(a: ActivationSums, b: ActivationSums): ActivationSums {
  return {
    heads: a.heads.map((value, idx) => value + b.heads[idx]!),
    neurons: a.neurons.map((value, idx) => value + b.neurons[idx]!),
    numTokens: a.numTokens + b.numTokens,
  };
}
