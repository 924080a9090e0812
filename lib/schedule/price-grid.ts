/**
 * Levels by price. What a request is worth at a level and what time it takes there are traded at one price for all waiting
 * requests, in quality per millisecond: each takes the level where quality - price * time is largest. At price 0 that is its
 * largest level; the dearer time is, the smaller it gets. Under one limit of total time the best choice of levels is that of some
 * price, but for rounding (Lagrangian relaxation; Everett, "Generalized Lagrange Multiplier Method", 1963), so a schedule needs
 * to look for a number instead of a level for each request.
 */
import type { CostModel } from './cost-model.js';
import type { LevelQuality, WaitingRequest, Work } from './types.js';

/**
 * Prices of the grid. Between the slopes of a request of one token and one of 16 x 512 tokens lie four to five decades: each price
 * is about 1.4 times the one before, and what is lost between two is given back by whoever chooses (see slack.ts).
 */
const numPrices = 32;

/** Each of these gives the grid slopes to lie between. */
const smallestWork: Work = { sequences: 1, tokens: 1, tokenSquares: 1 };
const largestWork: Work = { sequences: 16, tokens: 16 * 512, tokenSquares: 16 * 512 * 512 };

type Bounded = Pick<WaitingRequest, 'work' | 'largestIdx' | 'smallestIdx'>;

/** By price. */
export interface Choices {
  /** [prices] rising */
  levelIdxs: Uint8Array;
  /** [prices] its part of a batch at that level, falling */
  nominalMs: Float64Array;
}

export class PriceGrid {
  /** rising; the first is 0, the last so high that every request takes its smallest level */
  readonly prices: readonly number[];
  readonly #levels: readonly LevelQuality[];
  readonly #cost: CostModel;

  constructor(levels: readonly LevelQuality[], cost: CostModel) {
    this.#levels = levels;
    this.#cost = cost;
    const slopes = [smallestWork, largestWork].flatMap((work) => this.#slopes(work));
    const least = Math.min(...slopes);
    const most = Math.max(...slopes);
    const inner = numPrices - 2;
    const ratio = (most / least) ** (1 / Math.max(1, inner - 1));
    // A little off the slopes themselves, where two levels are worth the same.
    const between = Array.from({ length: inner }, (_, idx) => 0.99 * least * ratio ** idx);
    this.prices = slopes.length === 0 ? [0] : [0, ...between, Infinity];
  }

  /** What a request takes at each price. */
  choose({ work, largestIdx, smallestIdx }: Bounded): Choices {
    const levelIdxs = new Uint8Array(this.prices.length);
    const nominalMs = new Float64Array(this.prices.length);
    let levelIdx = largestIdx;
    let levelMs = this.#cost.nominalMs(levelIdx, work);
    for (let priceIdx = 0; priceIdx < this.prices.length; ++priceIdx) {
      const price = this.prices[priceIdx]!;
      for (let next = levelIdx + 1; next <= smallestIdx; ++next) {
        const nextMs = this.#cost.nominalMs(next, work);
        const loss = this.#levels[levelIdx]!.quality - this.#levels[next]!.quality;
        if (price === Infinity ? nextMs <= levelMs : price * (levelMs - nextMs) > loss) {
          levelIdx = next;
          levelMs = nextMs;
        }
      }
      levelIdxs[priceIdx] = levelIdx;
      nominalMs[priceIdx] = levelMs;
    }
    return { levelIdxs, nominalMs };
  }

  /** Quality lost per ms won between neighbouring levels. */
  #slopes(work: Work): number[] {
    return this.#levels.slice(1).flatMap(({ quality }, idx) => {
      const wonMs = this.#cost.nominalMs(idx, work) - this.#cost.nominalMs(idx + 1, work);
      const lost = this.#levels[idx]!.quality - quality;
      return wonMs > 0 && lost > 0 ? [lost / wonMs] : [];
    });
  }
}
