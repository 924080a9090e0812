/** Running text: files of every kind, and what examples are made of them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Exclusions, readTexts, TextData, Tokenizer, type TrainingText } from '../../lib/index.js';
import { expectRejection } from '../support/expect-code.js';
import { tinyVocabulary, writeTinyTokenizer } from '../support/tokenizer.js';

/** `{"title":"fox","text":"the quick brown fox"}\n{"text":"a lazy dog"}\n`, compressed with `xz -9e`. */
const xzBase64 =
  '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4ABCAD5dAD2IiobUVOndN3jVZB/mkX4jJ0hBIXOQEJEJIbiQ13G5O8AV3L6bc5S+RCvkrt6fboSZHafHGHM7DXeC1XqAAAAAex1Noy3UJwEAAVpD3xAHjx+2830BAAAAAARZWg==';

let scratch: string;
let tokenizer: Tokenizer;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-text-'));
  writeTinyTokenizer(scratch, tinyVocabulary(160), 64);
  tokenizer = await Tokenizer.load(scratch);
});

afterAll(() => {
  rmSync(scratch, { recursive: true });
});

function write(name: string, content: string | Buffer): string {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}

async function collect(paths: readonly string[]): Promise<TrainingText[]> {
  const texts: TrainingText[] = [];
  for await (const text of readTexts(paths)) texts.push(text);
  return texts;
}

const expected = [
  { title: 'fox', text: 'the quick brown fox' },
  { title: '', text: 'a lazy dog' },
];
const jsonl = '{"title":"fox","text":"the quick brown fox"}\n{"text":"a lazy dog"}\n';

describe('readTexts()', () => {
  it.each<[string, string | Buffer]>([
    ['plain.jsonl', jsonl],
    ['returns.jsonl', `\uFEFF${jsonl.replaceAll('\n', '\r\n')}\n`],
    ['packed.jsonl.gz', gzipSync(jsonl)],
    ['packed.jsonl.xz', Buffer.from(xzBase64, 'base64')],
  ])('reads %s', async (name, content) => {
    expect(await collect([write(name, content)])).toEqual(expected);
  });

  it('reads lines and Markdown sections', async () => {
    const lines = write('lines.txt', 'the fox\n\n  \na dog');
    const markdown = write('page.md', '# Animals\n\nthe fox\n\n## Dogs\n\na lazy\ndog\n');
    expect(await collect([lines, markdown])).toEqual([
      { title: '', text: 'the fox' },
      { title: '', text: 'a dog' },
      { title: 'Animals', text: 'the fox' },
      { title: 'Animals. Dogs', text: 'a lazy dog' },
    ]);
  });

  it("reads a folder's JSON lines in name order, without the notes beside them", async () => {
    const folder = join(scratch, 'folder');
    mkdirSync(folder);
    writeFileSync(join(folder, 'b.jsonl'), '{"text":"b"}\n');
    writeFileSync(join(folder, 'a.jsonl.gz'), gzipSync('{"text":"a"}\n'));
    writeFileSync(join(folder, 'SOURCES.md'), '# Where they come from\n\nsomewhere\n');
    expect((await collect([folder])).map(({ text }) => text)).toEqual(['a', 'b']);
  });

  it('says how far it is, up to all bytes of all files', async () => {
    const paths = [write('one.jsonl', jsonl), write('two.jsonl', jsonl)];
    const seen: number[] = [];
    const texts = readTexts(paths, { onProgress: (done, total) => seen.push(done / total) });
    while ((await texts.next()).done !== true) continue;
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('gives nothing for an empty file', async () => {
    expect(await collect([write('empty.jsonl', ''), write('empty.txt', '')])).toEqual([]);
  });

  it.each<[string, string, string | Buffer, RegExp]>([
    ['no JSON', 'broken.jsonl', `${jsonl}{"text": "a`, /one JSON object for line 3 of .*broken\.jsonl/],
    ['no object', 'list.jsonl', '["text"]\n', /one JSON object for line 1 of/],
    ['no text', 'missing.jsonl', '{"text":"a"}\n{"title":"b"}\n', /a string in "text" for line 2 of/],
    [
      'a title that is no string',
      'title.jsonl',
      '{"title":7,"text":"a"}\n',
      /a string in "title" for line 1 of/,
    ],
    ['bytes that are not UTF-8', 'latin.jsonl', Buffer.from([0x22, 0xe4, 0x0a]), /UTF-8 for line 1 of/],
    ['gzip cut off', 'cut.jsonl.gz', gzipSync(jsonl).subarray(0, 30), /whole gzip data for .*cut\.jsonl\.gz/],
    ['no gzip', 'no.jsonl.gz', jsonl, /whole gzip data for/],
    ['xz cut off', 'cut.jsonl.xz', Buffer.from(xzBase64, 'base64').subarray(0, 60), /whole xz data for/],
    ['no xz', 'no.jsonl.xz', jsonl, /whole xz data for/],
  ])('refuses %s, naming file and line', async (_, name, content, message) => {
    await expectRejection(collect([write(name, content)]), 'ELASTICLM_DATA_INVALID', message);
  });

  it('refuses files that are not there, or of another kind', async () => {
    await expectRejection(collect([join(scratch, 'none.jsonl')]), 'ELASTICLM_FILE_UNREADABLE', /none\.jsonl/);
    await expectRejection(collect([write('x.csv', 'a')]), 'ELASTICLM_ARGUMENT_INVALID', /\.jsonl/);
  });
});

/** Passages of three sentences under titles that several of them share. */
function passages(count: number): TrainingText[] {
  return Array.from({ length: count }, (_, idx) => ({
    title: `the city ${Math.floor(idx / 3)}`,
    text: `The quick brown fox of ${idx}. A lazy dog jumps over it ${idx}. The river of a city is quick.`,
  }));
}

describe('TextData', () => {
  const load = (count: number, seed = 1, maxLength = 40): Promise<TextData> =>
    TextData.load(passages(count), tokenizer, { maxLength, seed });

  it('is a function of texts, options and seed', async () => {
    const [one, two, other] = await Promise.all([load(200), load(200), load(200, 2)]);
    expect(await two.fingerprint()).toBe(await one.fingerprint());
    expect(await other.fingerprint()).not.toBe(await one.fingerprint());
    expect(await two.batch([5, 0, 17])).toEqual(await one.batch([5, 0, 17]));
  });

  it('gives examples in the order asked for, each of the length it says', async () => {
    const data = await load(50);
    const positions = [9, 3, 40, 3];
    const { batch } = await data.batch(positions);
    const lengths = positions.map((_, idx) => batch.cuSeqlens[idx + 1]! - batch.cuSeqlens[idx]!);
    expect(lengths).toEqual(positions.map((position) => data.length(position)));
    expect(batch.inputIds.subarray(lengths[0], lengths[0]! + lengths[1]!)).toEqual(
      batch.inputIds.subarray(batch.cuSeqlens[3], batch.cuSeqlens[4]),
    );
    expect(batch.tokenTypeIds.every((type) => type === 0)).toBe(true);
  });

  it('makes passages with their titles, sentences and each title once', async () => {
    const [passage] = passages(1);
    const whole = await TextData.load([passage!], tokenizer, { maxLength: 64, shares: { passage: 1 } });
    const { inputIds } = (await whole.batch([0])).batch;
    expect(inputIds).toEqual(tokenizer.encode(`${passage!.title} ${passage!.text}`).inputIds);

    const titles = await TextData.load(passages(9), tokenizer, { maxLength: 64, shares: { title: 1 } });
    expect(titles.counts).toEqual({ passage: 0, sentence: 0, title: 3 });
    expect((await titles.batch([1])).batch.inputIds).toEqual(tokenizer.encode('the city 1').inputIds);

    const sentences = await TextData.load(passages(9), tokenizer, { maxLength: 64, shares: { sentence: 2 } });
    expect(sentences.counts).toEqual({ passage: 0, sentence: 9, title: 0 });
    const first = (await sentences.batch([0])).batch.inputIds;
    const known = passage!.text
      .split('. ')
      .map((text) => tokenizer.encode(text.replace(/\.?$/, '.')).inputIds);
    expect(known).toContainEqual(first);
  });

  it('keeps the shares that are asked for', async () => {
    const count = 4000;
    const { counts } = await TextData.load(passages(count), tokenizer, {
      maxLength: 16,
      shares: { passage: 2, sentence: 1 },
    });
    expect(counts.passage).toBe(count);
    // drawn with probability 1/2: five deviations of a binomial
    expect(Math.abs(counts.sentence - count / 2)).toBeLessThan(5 * Math.sqrt(count / 4));
  });

  it('leaves out excluded passages, however they are written', async () => {
    const exclude = new Exclusions();
    exclude.add('the QUICK, brown fox!');
    const texts = [...expected, { title: 'dog', text: 'The quick brown fox' }];
    const data = await TextData.load(texts, tokenizer, { maxLength: 16, shares: { passage: 1 }, exclude });
    expect(data.size).toBe(1);
  });

  it('cuts long texts, and stops after maxPassages', async () => {
    const data = await TextData.load(passages(100), tokenizer, {
      maxLength: 7,
      maxPassages: 10,
      shares: { passage: 1 },
    });
    expect(data.size).toBe(10);
    expect(data.length(3)).toBe(7);
  });

  it('takes little more than two bytes a token', async () => {
    const data = await load(3000);
    const blockBytes = 2 * 2 ** 20; // the block that is not full yet
    expect(data.bytes).toBeLessThan(2 * data.totalTokens + 32 * data.size + blockBytes);
  });

  it('has no examples for no texts', async () => {
    const data = await TextData.load([], tokenizer, { maxLength: 16 });
    expect(data.size).toBe(0);
  });

  it('leaves the event loop its turns, and stops when told to', async () => {
    const controller = new AbortController();
    setImmediate(() => controller.abort(new Error('enough')));
    const endless = function* (): Generator<TrainingText> {
      for (;;) yield* passages(100);
    };
    await expectRejection(
      TextData.load(endless(), tokenizer, { maxLength: 16, signal: controller.signal }),
      'ELASTICLM_CALL_ABORTED',
    );
  });

  it.each<[string, object]>([
    ['maxLength', { maxLength: 0 }],
    ['seed', { maxLength: 16, seed: -1 }],
    ['shares', { maxLength: 16, shares: { passage: 0 } }],
    ['shares', { maxLength: 16, shares: { passage: -1, title: 1 } }],
  ])('refuses a wrong %s', async (name, options) => {
    await expectRejection(
      TextData.load([], tokenizer, options as { maxLength: number }),
      'ELASTICLM_ARGUMENT_INVALID',
      new RegExp(`options\\.${name}`),
    );
  });
});
