/** What every task takes. */
import { ElasticError } from '../errors.js';
import type { ElasticDenser } from '../heads/index.js';

/** Every level of the checkpoint, or some of them. */
export type LevelChoice = 'all' | readonly number[];

export interface TaskOptions {
  /** folder of the task's files */
  data: string;
  /** default: the task's own, see docs/evaluation.md */
  split?: string | undefined;
  /** default all */
  levels?: LevelChoice | undefined;
  /** longest text or pair in tokens; default the checkpoint's */
  maxLength?: number | undefined;
  /** work done over all levels (documents, examples or questions), of how much */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A task that searches a collection of documents. */
export interface CollectionTaskOptions extends TaskOptions {
  denser: ElasticDenser;
  /** level of the documents' vectors; default each query level's own, with an `indexDenser` 1 */
  indexLevel?: number | undefined;
  /** what encodes the documents; default `denser`. Its vectors must be as long, and mean the same. */
  indexDenser?: ElasticDenser | undefined;
  /** documents whose vectors are in memory at once; default as many as take 64 MiB. Results do not depend on it. */
  documentsPerPart?: number | undefined;
}

/** Something with levels: a model. */
interface Leveled {
  levels: readonly { level: number }[];
}

/** The levels to run, as chosen. @throws ELASTICLM_LEVEL_UNKNOWN before any work is done */
export function resolveLevels(choice: LevelChoice = 'all', { levels }: Leveled): readonly number[] {
  const known = levels.map(({ level }) => level);
  if (choice === 'all') return known;
  for (const level of choice) {
    if (known.includes(level)) continue;
    throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
      expected: `a level of the checkpoint: ${known.join(', ')}`,
      subject: 'levels',
      received: String(level),
    });
  }
  return choice;
}
