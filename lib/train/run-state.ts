/** Where a run stands, as the words of its state file. The file is read as if somebody hostile had written it. */
import { describeValue, ElasticError } from '../errors.js';
import type { Metrics } from './options.js';
import type { RunFacts } from './run-facts.js';
import type { DataPosition } from './types.js';

/** An evaluation that decides: of the best weights, or of the last ones. */
export interface ChosenWeights {
  step: number;
  metrics: Metrics;
}

export interface RunState {
  /** updates done */
  step: number;
  position: DataPosition;
  facts: RunFacts;
  /** bytes of the log */
  logLength: number;
  chosen: ChosenWeights | undefined;
  /** evaluations since `chosen` */
  stale: number;
  stoppedEarly: boolean;
}

const version = 1;

export function serialiseState(state: RunState): string {
  return JSON.stringify({ version, ...state });
}

/** @throws ELASTICLM_CHECKPOINT_INVALID naming the field */
export function parseState(text: string, path: string): RunState {
  const fail = (field: string, expected: string, received: unknown): never => {
    throw ElasticError.of('ELASTICLM_CHECKPOINT_INVALID', {
      expected,
      subject: `${field} in the metadata of ${path}`,
      received: describeValue(received),
      remedy: 'Is this the state of a training of this version, as it was written?',
    });
  };
  const count = (value: unknown, field: string): number =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
      ? value
      : fail(field, 'a count', value);
  const object = (value: unknown, field: string): Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : fail(field, 'an object', value);
  const entries = <T>(value: unknown, field: string, read: (item: unknown) => T): Record<string, T> =>
    Object.fromEntries(Object.entries(object(value, field)).map(([name, item]) => [name, read(item)]));
  const string = (value: unknown): string =>
    typeof value === 'string' ? value : fail('facts', 'strings', value);
  const number = (value: unknown): number =>
    typeof value === 'number' ? value : fail('chosen.metrics', 'numbers', value);

  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    fail('the whole', 'JSON', text);
  }
  const root = object(parsed, 'the whole');
  if (root.version !== version) fail('version', String(version), root.version);
  if (typeof root.stoppedEarly !== 'boolean') fail('stoppedEarly', 'true or false', root.stoppedEarly);
  const position = object(root.position, 'position');
  const chosen = root.chosen === undefined ? undefined : object(root.chosen, 'chosen');
  return {
    step: count(root.step, 'step'),
    position: {
      epoch: count(position.epoch, 'position.epoch'),
      cursor: count(position.cursor, 'position.cursor'),
    },
    facts: entries(root.facts, 'facts', string),
    logLength: count(root.logLength, 'logLength'),
    chosen: chosen && {
      step: count(chosen.step, 'chosen.step'),
      metrics: entries(chosen.metrics, 'chosen.metrics', (levels) =>
        entries(levels, 'chosen.metrics', number),
      ),
    },
    stale: count(root.stale, 'stale'),
    stoppedEarly: root.stoppedEarly === true,
  };
}
