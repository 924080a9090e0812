import { ElasticError, type EvaluationEvent, type StepEvent } from '../index.js';
import { readLines } from './lines.js';

/** What a run's log.jsonl holds. */
export interface TrainingLog {
  steps: StepEvent[];
  evaluations: EvaluationEvent[];
}

/** @throws ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID naming file and line */
export async function readTrainingLog(path: string): Promise<TrainingLog> {
  const log: TrainingLog = { steps: [], evaluations: [] };
  for await (const { text, line } of readLines(path)) {
    const event = parseEvent(text);
    if (isStep(event)) log.steps.push(event);
    else if (isEvaluation(event)) log.evaluations.push(event);
    else {
      throw ElasticError.of('ELASTICLM_DATA_INVALID', {
        expected: 'a step or an evaluation of a training log',
        subject: `line ${line} of ${path}`,
        received: text.slice(0, 60),
      });
    }
  }
  return log;
}

function parseEvent(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null;
}

function isStep(value: unknown): value is StepEvent {
  if (!isObject(value) || value['type'] !== 'step') return false;
  const { losses } = value;
  const isLoss = (loss: unknown): boolean => isObject(loss) && typeof loss['total'] === 'number';
  return (
    typeof value['step'] === 'number' &&
    typeof value['learningRate'] === 'number' &&
    isObject(losses) &&
    Object.values(losses).every(isLoss)
  );
}

function isEvaluation(value: unknown): value is EvaluationEvent {
  if (!isObject(value) || value['type'] !== 'evaluation') return false;
  const { metrics } = value;
  const isByLevel = (levels: unknown): boolean =>
    isObject(levels) && Object.values(levels).every((number) => typeof number === 'number');
  return typeof value['step'] === 'number' && isObject(metrics) && Object.values(metrics).every(isByLevel);
}
