/** Pairs out of running text, without anybody's labels: what stands together answers each other. */
import type { Tokenizer } from '../tokenizer/index.js';
import { checkDataOptions, invalidOption } from './data-options.js';
import type { Exclusions } from './exclusions.js';
import { PairData, type PairDataOptions } from './pair-data.js';
import { Slices } from '../slices.js';
import { sentencesOf, type TrainingText } from './text-files.js';

/** 'title': a title asks for its text; 'halves': the first half of a passage asks for the second */
export type TextPairing = 'title' | 'halves';

export interface TextPairsOptions extends PairDataOptions {
  /** default title */
  pairing?: TextPairing | undefined;
  exclude?: Exclusions | undefined;
  /** stop after so many pairs */
  maxPairs?: number | undefined;
}

/**
 * Of passages with one title the first is paired, since they would be each other's wrong answers; passages without a title,
 * or of a single sentence, give no pair.
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED and what the source of the texts throws
 */
export async function loadTextPairs(
  texts: Iterable<TrainingText> | AsyncIterable<TrainingText>,
  tokenizer: Tokenizer,
  options: TextPairsOptions,
): Promise<PairData> {
  const { exclude, maxPairs = Infinity } = options;
  const pairing: unknown = options.pairing ?? 'title';
  if (pairing !== 'title' && pairing !== 'halves')
    throw invalidOption('pairing', "'title' or 'halves'", pairing);
  const { signal } = checkDataOptions(options);
  const data = new PairData(tokenizer, options);
  const slices = new Slices(signal);
  let pairedTitle = '';
  for await (const text of texts) {
    if (data.size >= maxPairs) break;
    if (exclude?.hasPassage(text) === true) continue;
    if (pairing === 'title') {
      if (text.title !== '' && text.title !== pairedTitle) {
        data.addPair({ query: data.addText(text.title), document: data.addText(text.text) });
      }
      pairedTitle = text.title;
    } else {
      const [first, second] = halvesOf(text.text);
      if (first !== '' && second !== '')
        data.addPair({ query: data.addText(first), document: data.addText(second) });
    }
    if (slices.isOver) await slices.next();
  }
  return data;
}

/** Cut at the end of the sentence that is nearest to the middle. */
function halvesOf(text: string): [string, string] {
  const sentences = sentencesOf(text);
  const total = sentences.reduce((sum, { length }) => sum + length, 0);
  let before = 0;
  let cut = 0;
  while (cut < sentences.length - 1 && before + sentences[cut]!.length / 2 < total / 2) {
    before += sentences[cut]!.length;
    cut += 1;
  }
  return [sentences.slice(0, cut).join(' '), sentences.slice(cut).join(' ')];
}
