import { describe, expect, it } from 'vitest';
import { TopHits } from '../../lib/eval/top-hits.js';
import { expectCode } from '../support/expect-code.js';
import { Random } from '../support/random.js';

describe('TopHits', () => {
  it('holds what sorting all hits gives, equal scores in the order of their coming', () => {
    const random = new Random(3);
    for (let round = 0; round < 200; ++round) {
      const k = random.integer(1, 9);
      const top = new TopHits(k);
      const hits = Array.from({ length: random.integer(0, 40) }, (_, value) => ({
        query: random.integer(0, 2),
        // few different scores, so that many are equal; infinite ones among them
        score: random.pick([-Infinity, -1, 0, 0.5, 2, Infinity]),
        value,
      }));
      for (const { query, score, value } of hits) {
        if (top.accepts(query, score)) top.add(query, score, value);
      }
      for (const query of [0, 1, 2]) {
        const own = hits.filter((hit) => hit.query === query);
        const best = own
          .sort((a, b) => (a.score === b.score ? a.value - b.value : b.score - a.score))
          .slice(0, k);
        expect([...top.values(query)]).toEqual(best.map(({ value }) => value));
        expect([...top.scores(query)]).toEqual(best.map(({ score }) => score));
      }
    }
  });

  it('refuses a score that is not a number', () => {
    expectCode(() => new TopHits(2).accepts(7, NaN), 'ELASTICLM_DATA_INVALID', /query 7.*NaN/);
  });
});
