import { SingleBar } from 'cli-progress';
import type { RecipeEvent, StepEvent } from '../index.js';

/** One line on stderr that follows a run, and only where a person is looking at it. */
export class TrainingProgress {
  readonly #bar: SingleBar | undefined;
  #what = '';
  #steps = 0;

  constructor() {
    if (!process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      stream: process.stderr,
      format: '{what} [{bar}] {value}/{total} {rest}',
      barsize: 20,
      clearOnComplete: true,
      hideCursor: true,
    });
  }

  update(event: RecipeEvent): void {
    if (this.#bar === undefined) return;
    if (event.type === 'progress') this.#show(event.what, event.done, event.total, '');
    else if (event.type === 'start') this.#steps = event.steps;
    else if (event.type === 'step') this.#show(event.stage, event.step, this.#steps, describeStep(event));
  }

  stop(): void {
    if (this.#what !== '') this.#bar?.stop();
    this.#what = '';
  }

  #show(what: string, done: number, total: number, rest: string): void {
    if (what !== this.#what) {
      this.stop();
      this.#what = what;
      this.#bar?.start(total, done, { what, rest });
    }
    this.#bar?.setTotal(total);
    this.#bar?.update(done, { what, rest });
  }
}

/** e.g. "loss 0.0312 (1) 0.0456 (0.5), 8,100 tokens/s, 1 h 12 min left" */
export function describeStep({ losses, tokensPerSecond, secondsLeft }: StepEvent): string {
  const byLevel = Object.entries(losses)
    .sort(([a], [b]) => Number(b) - Number(a))
    .map(([level, { total }]) => `${total.toPrecision(3)} (${level})`);
  const speed = Math.round(tokensPerSecond).toLocaleString('en');
  return `loss ${byLevel.join(' ')}, ${speed} tokens/s, ${describeTime(secondsLeft)} left`;
}

function describeTime(seconds: number): string {
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
