import { ElasticError } from '../../errors.js';
import type { LevelQuality } from '../types.js';
import { firstWaiting, withinBounds, type Policy } from './policy.js';

/** Every request alone, in order of arrival, at one level: what a server without elasticity does. */
export function staticPolicy(level: number): Policy {
  return {
    name: `static-${level}`,
    order: 'arrival',
    untimedShare: 0,
    admit: () => ({ isAdmitted: true }),
    choose(state) {
      const request = firstWaiting(state);
      if (request === undefined) return [];
      return [{ request, levelIdx: withinBounds(levelIdxOf(level, state.levels), request) }];
    },
  };
}

/** @throws ELASTICLM_LEVEL_UNKNOWN */
export function levelIdxOf(level: number, levels: readonly LevelQuality[]): number {
  const idx = levels.findIndex((known) => known.level === level);
  if (idx >= 0) return idx;
  throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
    expected: `one of ${levels.map((known) => known.level).join(', ')}`,
    subject: 'the level',
    received: String(level),
  });
}
