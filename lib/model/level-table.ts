/** From the levels that callers ask for to positions in the checkpoint's list. */
import { describeValue, ElasticError } from '../errors.js';
import type { Level } from '../types.js';

export class LevelTable {
  readonly #positions: ReadonlyMap<number, number>;

  constructor(levels: readonly Level[]) {
    this.#positions = new Map(levels.map(({ level }, position) => [level, position]));
  }

  /**
   * The level and position of each of `numSequences` sequences.
   * @throws ELASTICLM_LEVEL_UNKNOWN listing the levels there are; ELASTICLM_ARGUMENT_INVALID for a list of another length
   */
  choose(
    level: number | readonly number[] | undefined,
    numSequences: number,
  ): { structureIdx: Int32Array; levels: number[] } {
    const structureIdx = new Int32Array(numSequences);
    if (!Array.isArray(level)) {
      const one = (level ?? 1) as number;
      structureIdx.fill(this.#position(one, 'options.level'));
      return { structureIdx, levels: Array<number>(numSequences).fill(one) };
    }
    const levels = level as readonly number[];
    if (levels.length !== numSequences) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `one level for each of ${numSequences} sequences`,
        subject: 'options.level',
        received: describeValue(level),
      });
    }
    for (let sequence = 0; sequence < numSequences; ++sequence) {
      structureIdx[sequence] = this.#position(levels[sequence], `options.level[${sequence}]`);
    }
    return { structureIdx, levels: [...levels] };
  }

  #position(level: unknown, subject: string): number {
    const position = this.#positions.get(level as number);
    if (position !== undefined) return position;
    throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
      expected: `a level that the checkpoint holds: ${[...this.#positions.keys()].join(', ')}`,
      subject,
      received: describeValue(level),
      remedy: this.#positions.size === 1 ? 'More levels are made by elasticize' : 'Choose one of them',
    });
  }
}
