import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ElasticDenser,
  ElasticRanker,
  ElasticService,
  ModelSchedule,
  type Profile,
} from '../../lib/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';

const texts = ['the quick brown fox', '', 'a lazy dog', 'gene of a cell', 'the city of the river'];
const levels = evenLevels(configOf(), [0.5]);

let scratch: string;
let encoder: string;
let ranker: string;
let service: ElasticService;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-service-'));
  encoder = join(scratch, 'encoder');
  ranker = join(scratch, 'ranker');
  writeTinyCheckpoint(encoder, { elastic: levels });
  writeTinyCheckpoint(ranker, { labels: 1, elastic: levels });
  service = await ElasticService.load({ denser: encoder, ranker }, { slo: { deadlineMs: 5000 } });
});
afterAll(async () => {
  await service.close();
  rmSync(scratch, { recursive: true });
});

describe('ElasticService', () => {
  it('gives the bits of a head without a schedule, at the levels that it says', async () => {
    await using plain = await ElasticDenser.load(encoder);
    for (const bounds of [{}, { maxLevel: 0.5 }]) {
      const scheduled = await service.denser!.encode(texts, { schedule: bounds });
      expect(new Set(scheduled.levels)).toEqual(new Set([bounds.maxLevel ?? 1]));
      const expected = await plain.encode(texts, { level: scheduled.levels });
      expect(scheduled).toEqual(expected);
    }
  });

  it('ranks as a head without a schedule does', async () => {
    await using plain = await ElasticRanker.load(ranker);
    expect(await service.ranker!.rank('fox', texts)).toEqual(await plain.rank('fox', texts));
  });

  it('runs at the level that a call names, and at one for each text', async () => {
    const { levels: ran } = await service.denser!.encode(texts.slice(0, 2), { level: [0.5, 1] });
    expect(ran).toEqual([0.5, 1]);
  });

  it('tells what a call took', async () => {
    const told: object[] = [];
    const { totalTokens } = await service.denser!.encode(texts, {
      schedule: { onServed: (facts) => told.push(facts) },
    });
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ levels: texts.map(() => 1), totalTokens });
  });

  it('refuses what cannot be in time, whole, and what is asked twice', async () => {
    const { denser } = service;
    const late = denser!.encode(Array<string>(500).fill(texts[0]!), { schedule: { deadlineMs: 0.05 } });
    const error = await expectRejection(late, 'ELASTICLM_DEADLINE_UNREACHABLE');
    expect(error.retryAfterMs).toBeGreaterThanOrEqual(1);
    await expectRejection(
      denser!.encode(texts, { level: 1, schedule: { maxLevel: 0.5 } }),
      'ELASTICLM_ARGUMENT_INVALID',
      /either a level or a schedule/,
    );
    await expectRejection(
      denser!.encode(texts, { schedule: { minLevel: 0.6, maxLevel: 0.9 } }),
      'ELASTICLM_LEVEL_UNKNOWN',
    );
    expect(service.stats('denser')).toMatchObject({ waiting: 0, failed: 0 });
  });

  it('gives up what waits when a call is aborted', async () => {
    const aborter = new AbortController();
    const many = Array<string>(3000).fill(texts.join(' '));
    const call = service.denser!.encode(many, { signal: aborter.signal, schedule: { priority: 'bulk' } });
    setTimeout(() => aborter.abort(new Error('enough')), 5);
    const error = await expectRejection(call, 'ELASTICLM_CALL_ABORTED');
    expect(error.cause).toEqual(new Error('enough'));
    const { waiting } = service.stats('denser')!;
    expect(waiting).toBe(0);
    expect((await service.denser!.encode(texts)).levels).toHaveLength(texts.length);
  });

  it('answers what it has when it is closed, and takes no more', async () => {
    const closing = await ElasticService.load({ denser: encoder }, { slo: { deadlineMs: 5000 } });
    const calls = [
      closing.denser!.encode(texts),
      closing.denser!.encode(texts, { schedule: { priority: 'bulk' } }),
    ];
    // Tokenised and submitted within this turn.
    await Promise.resolve();
    const closed = closing.close();
    expect(closing.close()).toBe(closed);
    for (const { levels: ran } of await Promise.all(calls)) expect(ran).toHaveLength(texts.length);
    await closed;
    await expectRejection(closing.denser!.encode(texts), 'ELASTICLM_SCHEDULER_CLOSED');
  });

  it('refuses hints without a schedule, no head, and a profile of another model', async () => {
    await using plain = await ElasticDenser.load(encoder);
    await expectRejection(plain.encode(texts, { schedule: { deadlineMs: 5 } }), 'ELASTICLM_ARGUMENT_INVALID');
    await expectRejection(ElasticService.load({}, { slo: { deadlineMs: 5 } }), 'ELASTICLM_ARGUMENT_INVALID');
    const level = { level: 1, quality: 1, perSequenceMs: 1, perTokenMs: 1, perTokenSquareMs: 0 };
    const profile: Profile = {
      format: 'elasticlm-profile',
      version: 1,
      machine: '',
      batchMs: 0,
      levels: [level],
    };
    await expectRejection(
      ElasticDenser.load(encoder, {
        runner: (model) => ModelSchedule.create(model, { slo: { deadlineMs: 5 }, profile }),
      }),
      'ELASTICLM_ARGUMENT_INVALID',
      /1, 0\.5/,
    );
  });
});
