import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { packBatch } from '../../lib/batch/index.js';
import { ElasticDenser } from '../../lib/heads/index.js';
import { ElasticModel } from '../../lib/model/index.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { configOf, evenLevels, writeJson, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

const levels = [0.5, 0.25];
const words = ['the', 'quick', 'brown', 'fox', 'gene', 'cell', 'river', 'jumps', 'xyz', '42'];

let folder: string;
let checkpoint: string;
let denser: ElasticDenser;

function randomTexts(count: number, seed: number): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () =>
    Array.from({ length: random.integer(0, 30) }, () => random.pick(words)).join(' '),
  );
}

function row(data: Float32Array, dims: number, idx: number): Float32Array {
  return data.slice(idx * dims, (idx + 1) * dims);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-denser-'));
  checkpoint = join(folder, 'tiny');
  writeTinyCheckpoint(checkpoint, { elastic: evenLevels(configOf(), levels) });
  denser = await ElasticDenser.load(checkpoint);
});

afterAll(async () => {
  await denser.close();
  await rm(folder, { recursive: true });
});

describe('ElasticDenser.encode()', () => {
  it('gives what tokenizer and model give by hand', async () => {
    const text = 'the quick brown fox';
    const { data, dims } = await denser.encode(text, { level: 0.5 });
    const tokenizer = await Tokenizer.load(checkpoint);
    await using model = await ElasticModel.load(checkpoint);
    const batch = packBatch([tokenizer.encode(text)]);
    const options = { output: 'pooled', pooling: 'mean', normalize: true, level: 0.5 } as const;
    expect(data).toEqual((await model.forward(batch, options)).data);
    expect(dims).toBe(model.config.hiddenSize);
    expect(Math.hypot(...data)).toBeCloseTo(1, 5);
  });

  it('gives each text the same vector alone and among hundreds of others, over several chunks', async () => {
    const texts = randomTexts(1500, 1); // 1500 texts of 17 tokens in the mean: several chunks
    const together = await denser.encode(texts);
    expect(together.data).toHaveLength(texts.length * together.dims);
    for (const idx of [0, 1, 700, 1499]) {
      const alone = await denser.encode(texts[idx]!);
      expect(row(together.data, together.dims, idx)).toEqual(alone.data);
    }
  });

  it('runs each text at its own level', async () => {
    const texts = randomTexts(400, 2);
    const level = texts.map((_, idx) => [1, ...levels][idx % 3]!);
    const mixed = await denser.encode(texts, { level });
    expect(mixed.levels).toEqual(level);
    for (const one of [1, ...levels]) {
      const uniform = await denser.encode(texts, { level: one });
      for (const [idx, own] of level.entries()) {
        if (own !== one) continue;
        expect(row(mixed.data, mixed.dims, idx)).toEqual(row(uniform.data, mixed.dims, idx));
      }
    }
  });

  it('takes a string as one text, an empty text as a text, and an empty array as nothing', async () => {
    const one = await denser.encode('the fox');
    expect(one.data).toEqual((await denser.encode(['the fox'])).data);
    const empty = await denser.encode('');
    expect([empty.data.length, empty.totalTokens]).toEqual([empty.dims, 2]);
    expect(empty.data.every(Number.isFinite)).toBe(true);
    const none = await denser.encode([]);
    expect(none).toEqual({ data: new Float32Array(0), dims: one.dims, levels: [], totalTokens: 0 });
  });

  it('cuts texts at maxLength, by default at that of the checkpoint', async () => {
    const long = words.join(' ').repeat(50);
    const { maxLength } = denser.model.checkpoint;
    expect((await denser.encode(long)).totalTokens).toBe(maxLength);
    expect((await denser.encode(long, { maxLength: 10 })).totalTokens).toBe(10);
    for (const wrong of [0, -1, 2.5, NaN, maxLength + 1000]) {
      const run = denser.encode(long, { maxLength: wrong });
      await expectRejection(run, 'ELASTICLM_ARGUMENT_INVALID', /maxLength/);
    }
  });

  it('names the position of what is not a text', async () => {
    for (const [texts, message] of [
      [['a', undefined], /text 1.*undefined/],
      [['a', 'b', 3], /text 2.*3/],
      [[['a', 'b']], /text 0.*array/],
      [{ 0: 'a' }, /texts/],
      [undefined, /texts/],
    ] as const) {
      const run = denser.encode(texts as unknown as string[]);
      await expectRejection(run, 'ELASTICLM_ARGUMENT_INVALID', message);
    }
  });

  it('refuses unknown levels, as many levels as there are not texts, and unknown kinds', async () => {
    await expectRejection(denser.encode('a', { level: 0.33 }), 'ELASTICLM_LEVEL_UNKNOWN', /0\.33/);
    await expectRejection(denser.encode('a', { level: [1, 1] }), 'ELASTICLM_ARGUMENT_INVALID', /level/);
    const kind = 'passage' as 'query';
    await expectRejection(denser.encode('a', { kind }), 'ELASTICLM_ARGUMENT_INVALID', /kind/);
  });

  it('stops at an abort, before and between chunks', async () => {
    const before = denser.encode('a', { signal: AbortSignal.abort('reason') });
    expect((await expectRejection(before, 'ELASTICLM_CALL_ABORTED')).cause).toBe('reason');
    const controller = new AbortController();
    const running = denser.encode(randomTexts(5000, 3), { signal: controller.signal });
    setImmediate(() => controller.abort());
    await expectRejection(running, 'ELASTICLM_CALL_ABORTED');
    expect((await denser.encode('a')).levels).toEqual([1]);
  });

  it('leaves the event loop free while it reads many texts', async () => {
    const texts = randomTexts(20_000, 4);
    await denser.encode(texts.slice(0, 2000)); // compiled code, as in a server that has been up for a while
    const gaps = monitorEventLoopDelay({ resolution: 1 });
    let turns = 0;
    let open = true;
    const turn = (): void => {
      turns += 1;
      if (open) setImmediate(turn);
    };
    gaps.enable();
    turn();
    await denser.encode(texts);
    open = false;
    gaps.disable();
    // Half a million tokens take this process about a second: a loop that is held between chunks turns a few dozen times.
    expect(turns).toBeGreaterThan(200);
    expect(gaps.percentile(50) / 1e6).toBeLessThan(5);
  });
});

describe('ElasticDenser.load()', () => {
  let variants = 0;

  async function loadWith(files: Record<string, unknown>): Promise<ElasticDenser> {
    const directory = join(folder, `variant-${variants++}`);
    writeTinyCheckpoint(directory);
    for (const [name, value] of Object.entries(files)) writeJson(join(directory, name), value);
    return ElasticDenser.load(directory);
  }

  const prompts = { query: 'fox ', passage: 'cell ', other: 'river ' };
  let plain: ElasticDenser;

  beforeAll(async () => {
    plain = await loadWith({});
  });

  afterAll(() => plain.close());

  it('puts the prompt of their kind before texts', async () => {
    await using prompted = await loadWith({ 'config_sentence_transformers.json': { prompts } });
    const vector = async (
      of: ElasticDenser,
      text: string,
      kind?: 'query' | 'document',
    ): Promise<Float32Array> => (await of.encode(text, { kind })).data;
    expect(await vector(prompted, 'the dog', 'query')).toEqual(await vector(plain, 'fox the dog'));
    expect(await vector(prompted, 'the dog', 'document')).toEqual(await vector(plain, 'cell the dog'));
    expect(await vector(prompted, 'the dog')).toEqual(await vector(plain, 'the dog'));
  });

  it('puts the default prompt before texts of no kind, and of a kind that has none', async () => {
    const config = { prompts: { query: 'fox ', other: 'river ' }, default_prompt_name: 'other' };
    await using prompted = await loadWith({ 'config_sentence_transformers.json': config });
    const { data } = await plain.encode('river the dog');
    expect((await prompted.encode('the dog')).data).toEqual(data);
    expect((await prompted.encode('the dog', { kind: 'document' })).data).toEqual(data);
  });

  it('refuses prompts that are none', async () => {
    for (const config of [
      { prompts: [] },
      { prompts: { query: 1 } },
      { prompts, default_prompt_name: 'none' },
      [],
    ]) {
      const load = loadWith({ 'config_sentence_transformers.json': config });
      await expectRejection(load, 'ELASTICLM_CONFIG_INVALID', /config_sentence_transformers\.json/);
    }
  });

  it('follows the pooling of the checkpoint', async () => {
    const levelsOnly = evenLevels(configOf(), []);
    const directory = join(folder, 'cls');
    writeTinyCheckpoint(directory, { elastic: { ...levelsOnly, pooling: 'cls', normalize: false } });
    await using cls = await ElasticDenser.load(directory);
    const batch = packBatch([(await Tokenizer.load(directory)).encode('the fox')]);
    const { data } = await cls.model.forward(batch, { output: 'hidden' });
    expect((await cls.encode('the fox')).data).toEqual(data.slice(0, cls.dims));
  });

  it('leaves no model behind when the tokenizer cannot be read', async () => {
    const directory = join(folder, 'broken');
    writeTinyCheckpoint(directory);
    await writeFile(join(directory, 'tokenizer.json'), '{');
    await expectRejection(ElasticDenser.load(directory), 'ELASTICLM_TOKENIZER_INVALID');
  });
});

describe('ElasticDenser.close()', () => {
  const opened: ElasticDenser[] = [];

  afterEach(() => Promise.all(opened.splice(0).map((one) => one.close())));

  it('lets the running chunk end, may be called twice, and refuses later work', async () => {
    const one = await ElasticDenser.load(checkpoint);
    opened.push(one);
    const running = one.encode('the fox');
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([one.close(), one.close()]);
    expect((await running).levels).toEqual([1]);
    await expectRejection(one.encode('a'), 'ELASTICLM_MODEL_CLOSED');
  });
});
