import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticError } from '../../lib/errors.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { Random } from '../support/random.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elasticlm-json-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** A small tokenizer.json as text, so that a test can write what JSON.stringify would not. */
function tokenizerText(vocab: string, more = ''): string {
  return `{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, ${more}
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 1.0e2, "vocab": {"[UNK]": 0, ${vocab}}}}`;
}

/** Ids of some texts, or the error's code. */
function outcome(tokenizer: Tokenizer): string {
  const texts = ['a b ab', '__proto__ constructor', 'é 中\u{20000} \u0001', 'x "a" \\ /'];
  return texts.map((text) => tokenizer.encode(text).inputIds.join(' ')).join('; ');
}

function codeOf(cause: unknown): string {
  if (cause instanceof ElasticError) return cause.code;
  if (cause instanceof SyntaxError) return 'ELASTICLM_TOKENIZER_INVALID';
  throw cause;
}

async function loaded(text: string | Buffer): Promise<string> {
  await writeFile(join(directory, 'tokenizer.json'), text);
  try {
    return outcome(await Tokenizer.load(directory));
  } catch (cause) {
    return codeOf(cause);
  }
}

/** What JSON.parse makes of it. */
function expected(text: string): string {
  try {
    return outcome(Tokenizer.fromJson(JSON.parse(text), 'tokenizer.json'));
  } catch (cause) {
    return codeOf(cause);
  }
}

describe('Tokenizer.load() of unusual JSON', () => {
  it.each([
    ['a name given twice', tokenizerText('"a": 1, "b": 2, "a": 3')],
    ['a vocabulary given twice', tokenizerText('"a": 1').replace('"type"', '"vocab": {"a": "x"}, "type"')],
    ['__proto__ as a token', tokenizerText('"__proto__": 1, "_": 2, "##_": 3, "constructor": 4')],
    ['__proto__ as a field', tokenizerText('"a": 1', '"__proto__": {"model": 3},')],
    [
      'escapes',
      tokenizerText('"\\u0061": 1, "\\"": 2, "\\\\": 3, "\\/": 4, "\\ud840\\udc00": 5, "\\u00E9": 6'),
    ],
    ['characters of 2, 3 and 4 bytes', tokenizerText('"é": 1, "中": 2, "\u{20000}": 3')],
    ['half a surrogate pair', tokenizerText('"\\ud840": 1')],
    ['numbers in every notation', tokenizerText('"a": 1.0, "b": 20e-1, "x": 3E+0')],
    [
      'numbers past exactness',
      tokenizerText('"a": 1', '"x": [12345678901234567890, -1e400, 0.1, -0, 1e-400],'),
    ],
    ['an id that is none', tokenizerText('"a": -1')],
    ['an id that is an object', tokenizerText('"a": {"b": [1]}, "b": 1')],
    ['an empty name', tokenizerText('"": 1, "a": 2')],
    [
      '100,000 levels of arrays',
      tokenizerText('"a": 1', `"x": ${'['.repeat(100_000)}${']'.repeat(100_000)},`),
    ],
    ['arrays that never end', '['.repeat(100_000)],
    ['objects that never end', '{"a":'.repeat(100_000)],
    ['a byte order mark', `\ufeff${tokenizerText('"a": 1')}`],
    ['nothing', ''],
    ['spaces', ' \t\r\n'],
  ])('has the result of JSON.parse: %s', async (_, text) => {
    expect(await loaded(text)).toBe(expected(text));
  });

  it.each([
    '01', '+1', '1.', '.5', '1e', '1e+', '-', '--1', '0x1', 'NaN', 'tru', 'nul', 'True', '"a', '"\\x"', '"\\u12g4"',
    '"\\u12', '"\t"', "'a'", '[1,]', '[,1]', '[1 2]', '[1', '[1}', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '{1:1}',
    '{"a":1]', '{,}', '1 2', '\u00a01', '1\u000b', '"\\', '"\u007f"', '"\u2028"', '-0', '0e0', '1E5', '[]', '{}', ' [ ] ',
    '"\\b\\f\\n\\r\\t"',
  ])('takes a value where JSON.parse takes it: %j', async (value) => {
    const text = tokenizerText('"a": 1', `"x": ${value},`);
    expect(await loaded(text)).toBe(expected(text));
    expect(await loaded(value)).toBe(expected(value));
  }); // prettier-ignore

  it('refuses bytes that are not UTF-8 anywhere in a long file', async () => {
    const text = Buffer.from(tokenizerText('"a": 1', `"x": "${'中'.repeat(200_000)}",`));
    expect(await loaded(text)).toBe(expected(text.toString()));
    const at = text.indexOf('中') + 3 * 150_000;
    for (const byte of [0x80, 0xc0, 0xed, 0xff]) {
      const broken = Buffer.from(text);
      broken[at] = byte;
      expect(await loaded(broken)).toBe('ELASTICLM_TOKENIZER_INVALID');
    }
  });

  it('has the result of JSON.parse for texts with characters replaced, removed and repeated', async () => {
    const random = new Random(31);
    const seed = tokenizerText(
      '"a": 1, "b": 2, "##b": 3, "é": 4, "\\u4e2d": 5',
      '"x": [1.5e3, true, null, {}],',
    );
    const chars = Array.from('{}[]",:\\ue0123459.-+tfn ab\u0001é');
    let numLoaded = 0;
    for (let round = 0; round < 600; round++) {
      const units = Array.from(seed);
      for (let count = random.integer(1, 2); count > 0; count--) {
        const at = random.integer(0, units.length - 1);
        const removed = random.integer(0, 1);
        units.splice(at, removed, ...(random.uniform() < 0.3 ? [] : [random.pick(chars)]));
      }
      const text = units.join('');
      const wanted = expected(text);
      if (!wanted.startsWith('ELASTICLM')) numLoaded++;
      expect(await loaded(text), text).toBe(wanted);
    }
    expect(numLoaded).toBeGreaterThan(50);
  });
});
