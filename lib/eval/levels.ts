import { ElasticError } from '../errors.js';

/** Every level of the checkpoint, or some of them. */
export type LevelChoice = 'all' | readonly number[];

/** The levels to run, as chosen. @throws ELASTICLM_LEVEL_UNKNOWN before any work is done */
export function resolveLevels(choice: LevelChoice, held: readonly { level: number }[]): readonly number[] {
  const known = held.map(({ level }) => level);
  if (choice === 'all') return known;
  for (const level of choice) checkLevel(level, known);
  return choice;
}

function checkLevel(level: number, known: readonly number[]): void {
  if (known.includes(level)) return;
  throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
    expected: `a level of the checkpoint: ${known.join(', ')}`,
    subject: 'levels',
    received: String(level),
  });
}
