import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packBatch } from '../../lib/batch/index.js';
import { ElasticRanker } from '../../lib/heads/index.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';

const query = 'quick fox';
const documents = ['the lazy dog', 'a gene of the cell', '', 'the lazy dog', 'river city'];

let folder: string;
let checkpoint: string;
let ranker: ElasticRanker;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-ranker-'));
  checkpoint = join(folder, 'tiny');
  writeTinyCheckpoint(checkpoint, { labels: 1, elastic: evenLevels(configOf(), [0.5]) });
  ranker = await ElasticRanker.load(checkpoint);
});

afterAll(async () => {
  await ranker.close();
  await rm(folder, { recursive: true });
});

describe('ElasticRanker.rank()', () => {
  it('orders by the sigmoid of the logit of "[CLS] query [SEP] document [SEP]"', async () => {
    const tokenizer = await Tokenizer.load(checkpoint);
    const ranking = await ranker.rank(query, documents);
    expect(ranking.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4]);
    for (const { index, score } of ranking) {
      const batch = packBatch([tokenizer.encodePair(query, documents[index]!)]);
      const [logit] = (await ranker.model.forward(batch, { output: 'logits' })).data;
      expect(score).toBe(Math.fround(1 / (1 + Math.exp(-logit!))));
    }
    for (const [place, { score }] of ranking.entries()) {
      expect(score).toBeLessThanOrEqual(ranking[place - 1]?.score ?? 1);
    }
  });

  it('puts equal scores in the order of the documents', async () => {
    const ranking = await ranker.rank(query, documents);
    const places = [0, 3].map((index) => ranking.findIndex((hit) => hit.index === index));
    expect(places[1]).toBe(places[0]! + 1);
    expect((await ranker.rank(query, ['a', 'a', 'a'])).map(({ index }) => index)).toEqual([0, 1, 2]);
  });

  it('gives the best topK, at any level, and nothing for no document', async () => {
    for (const level of [1, 0.5]) {
      const all = await ranker.rank(query, documents, { level });
      expect(await ranker.rank(query, documents, { level, topK: 2 })).toEqual(all.slice(0, 2));
    }
    expect(await ranker.rank(query, [])).toEqual([]);
  });

  it('gives logits when asked to', async () => {
    const scores = await ranker.rank(query, documents);
    const logits = await ranker.rank(query, documents, { activation: 'identity' });
    expect(logits.map(({ index }) => index)).toEqual(scores.map(({ index }) => index));
    expect(logits.map(({ score }) => Math.fround(1 / (1 + Math.exp(-score))))).toEqual(
      scores.map(({ score }) => score),
    );
  });

  it('names what is wrong', async () => {
    const none = undefined as unknown as string;
    for (const [run, message] of [
      [() => ranker.rank(none, documents), /query.*undefined/],
      [() => ranker.rank(query, ['a', none]), /document 1.*undefined/],
      [() => ranker.rank(query, 'a' as unknown as string[]), /documents/],
      [() => ranker.rank(query, documents, { topK: 0 }), /topK/],
    ] as const) {
      await expectRejection(run(), 'ELASTICLM_ARGUMENT_INVALID', message);
    }
    await expectRejection(ranker.rank(query, documents, { level: 0.3 }), 'ELASTICLM_LEVEL_UNKNOWN');
    await expectRejection(
      ranker.rank(query, documents, { signal: AbortSignal.abort() }),
      'ELASTICLM_CALL_ABORTED',
    );
  });
});

describe('ElasticRanker.load()', () => {
  it('follows the activation that the checkpoint names', async () => {
    const identity = 'torch.nn.modules.linear.Identity';
    for (const config of [
      { sentence_transformers: { activation_fn: identity } },
      { sbert_ce_default_activation_function: identity },
    ]) {
      const directory = join(folder, Object.keys(config)[0]!);
      writeTinyCheckpoint(directory, { labels: 1, config });
      await using raw = await ElasticRanker.load(directory);
      expect(await raw.rank(query, documents)).toEqual(
        await raw.rank(query, documents, { activation: 'identity' }),
      );
    }
  });

  it('refuses an activation that it does not have, unless told which to use', async () => {
    const directory = join(folder, 'tanh');
    writeTinyCheckpoint(directory, {
      labels: 1,
      config: { sbert_ce_default_activation_function: 'torch.nn.Tanh' },
    });
    await expectRejection(ElasticRanker.load(directory), 'ELASTICLM_CONFIG_UNSUPPORTED', /Tanh/);
    await using told = await ElasticRanker.load(directory, { activation: 'sigmoid' });
    expect(await told.rank(query, ['a'])).toHaveLength(1);
  });

  it('refuses a checkpoint without a classifier, or with more labels', async () => {
    const directory = join(folder, 'plain');
    writeTinyCheckpoint(directory);
    await expectRejection(ElasticRanker.load(directory), 'ELASTICLM_HEAD_MISSING', /none/);
    const three = join(folder, 'three');
    writeTinyCheckpoint(three, { labels: 3 });
    await expectRejection(ElasticRanker.load(three), 'ELASTICLM_HEAD_MISSING', /ElasticClassifier/);
  });
});
