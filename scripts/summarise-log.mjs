// @ts-check
/**
 * A training's log.jsonl, one line for every update, as a record small enough to keep: means over so many updates, and what was
 * evaluated.
 *
 *   node scripts/summarise-log.mjs --log runs/minilm-embedding/distill/log.jsonl --out docs/results/minilm-embedding-log.json
 *                                  [--every 50]
 */
import { createReadStream, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

/** @typedef {{ type: 'step', step: number, tokens: number, tokensPerSecond: number, learningRate: number,
 *   losses: Record<string, { total: number }> }} Step */
/** @typedef {{ type: 'evaluation', step: number, metrics: object }} Evaluation */

const { values } = parseArgs({
  options: {
    log: { type: 'string' },
    out: { type: 'string' },
    every: { type: 'string', default: '50' },
  },
});
const { log, out } = values;
if (log === undefined || out === undefined) throw new Error('expected --log FILE and --out FILE');
const every = Number(values.every);
if (!(Number.isSafeInteger(every) && every >= 1))
  throw new Error(`expected a count for --every, received ${values.every}`);

/** @type {Step[]} */
const steps = [];
/** @type {Evaluation[]} */
const evaluations = [];
for await (const line of createInterface({ input: createReadStream(log) })) {
  /** @type {Step | Evaluation} */
  const event = JSON.parse(line);
  if (event.type === 'step') steps.push(event);
  else evaluations.push(event);
}

/** @param {Step[]} part @param {(step: Step) => number | undefined} of */
function mean(part, of) {
  const numbers = part.map(of).filter((value) => value !== undefined);
  return Number((numbers.reduce((sum, value) => sum + value, 0) / numbers.length).toPrecision(4));
}

/** @param {Step[]} part */
function summary(part) {
  const last = part.at(-1);
  const levels = new Set(part.flatMap(({ losses }) => Object.keys(losses)));
  const byNumber = [...levels].sort((a, b) => Number(b) - Number(a));
  return {
    step: last?.step,
    learningRate: last?.learningRate,
    tokensPerSecond: Math.round(mean(part, (step) => step.tokensPerSecond)),
    losses: byNumber.map((level) => [level, mean(part, ({ losses }) => losses[level]?.total)]),
  };
}

const parts = Array.from({ length: Math.ceil(steps.length / every) }, (_, part) =>
  summary(steps.slice(part * every, (part + 1) * every)),
);
const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
const seconds = Math.round(steps.reduce((sum, step) => sum + step.tokens / step.tokensPerSecond, 0));
const lines = (/** @type {unknown[]} */ items) =>
  items.map((item) => `    ${JSON.stringify(item)}`).join(',\n');
writeFileSync(
  out,
  `{
  "updates": ${steps.length},
  "tokens": ${tokens},
  "seconds": ${seconds},
  "meansOver": ${every},
  "steps": [
${lines(parts)}
  ],
  "evaluations": [
${lines(evaluations.map(({ step, metrics }) => ({ step, metrics })))}
  ]
}
`,
);
