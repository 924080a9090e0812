import type { Random } from '../support/random.js';

/** Ranges in which the rules of a BERT tokenizer differ, each as [first, last] code point. */
const ranges: readonly (readonly [number, number])[] = [
  [0x00, 0x1f],
  [0x20, 0x7e],
  [0x7f, 0xff],
  [0x100, 0x24f],
  [0x300, 0x36f], // combining marks
  [0x370, 0x52f],
  [0x590, 0x6ff],
  [0x900, 0xdff],
  [0xe00, 0x109f],
  [0x1100, 0x11ff], // Hangul jamo
  [0x1ab0, 0x1aff], // combining marks newer than Unicode 8
  [0x1b00, 0x1bff],
  [0x1d00, 0x1fff],
  [0x2000, 0x206f],
  [0x2070, 0x2bff],
  [0x2e00, 0x30ff],
  [0x4e00, 0x9fff],
  [0xa000, 0xabff],
  [0xac00, 0xd7a3],
  [0xd800, 0xdfff], // lone surrogates
  [0xe000, 0xf8ff],
  [0xf900, 0xfaff],
  [0xfb00, 0xffff],
  [0x10000, 0x10fff],
  [0x11000, 0x11fff],
  [0x1d100, 0x1d1ff], // musical symbols: decompositions and classes of the supplementary planes
  [0x1f300, 0x1faff], // emoji
  [0x20000, 0x2ffff],
  [0x30000, 0x10ffff],
];

const fragments = [
  '[SEP]', '[CLS]', '[MASK]', '[UNK]', '[PAD]', '[sep]', '[SE', '##ing', '##', 'don\'t', 'naïve', 'İstanbul', 'ΑΣ',
  'Ὀδυσσεύς', 'straße', '각', '中文', '𠀀', '👩‍👩‍👧', '🇩🇪', 'e\u0301', 'a\u0334\u0316\u0301', '\ud834\udd5e', '\u302e',
  '\u0f73', '\u200b', '\ufeff', '\ufffd', '\u0000', '\r\n', '\t', '\u2028', '\u0085', '3.14', 'http://x.y/z?q=1',
  'the', 'of', 'protein', 'antidisestablishmentarianism', 'mRNA', 'ﬁ', 'Ǆ', '\u037e', '\u1fef', '\u212b', '\u0344',
]; // prettier-ignore

/** A text of runs from one range each, with fragments, words, spaces and now and then a very long word. */
export function generateText(random: Random): string {
  let text = '';
  const numRuns = random.integer(0, 7);
  for (let run = 0; run <= numRuns; run++) {
    if (random.uniform() < 0.3) text += random.pick(fragments);
    else if (random.uniform() < 0.02)
      text += random.pick(['a', 'é', '中', '\ud83d\ude00']).repeat(random.integer(0, 119));
    else {
      const [first, last] = random.pick(ranges);
      const length = random.integer(1, 6);
      for (let count = 0; count < length; count++) {
        const codePoint = random.integer(first, last);
        text += String.fromCodePoint(codePoint);
        if (random.uniform() < 0.1) text += String.fromCodePoint(random.integer(0x300, 0x36f));
      }
    }
    if (random.uniform() < 0.5) text += ' ';
  }
  return text;
}

/** Two such texts. */
export function generatePair(random: Random): [string, string] {
  return [generateText(random), generateText(random)];
}
