import { firstWaiting, type Policy } from './policy.js';

/**
 * The paper's elastic schedule (arXiv 2311.07204, online simulation): requests alone, in order of arrival, each at the largest
 * level k with (g + 1) * t_k <= T, where g requests wait behind it, t_k is the service time of this one, and T is the latency bound; at
 * the smallest where none fits.
 */
export function paperPolicy({ latencyBoundMs }: { latencyBoundMs: number }): Policy {
  return {
    name: 'paper',
    order: 'arrival',
    untimedShare: 0,
    admit: () => ({ isAdmitted: true }),
    choose(state) {
      const { backlog, cost } = state;
      const request = firstWaiting(state);
      if (request === undefined) return [];
      const fits = (levelIdx: number): boolean => {
        const serviceMs = cost.slowdown * cost.nominalBatchMs([{ request, levelIdx }]);
        return backlog.size * serviceMs <= latencyBoundMs;
      };
      let levelIdx = request.largestIdx;
      while (levelIdx < request.smallestIdx && !fits(levelIdx)) ++levelIdx;
      return [{ request, levelIdx }];
    },
  };
}
