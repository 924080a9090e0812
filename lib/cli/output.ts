import { SingleBar } from 'cli-progress';
import Table from 'cli-table3';

/** One JSON object on one line of stdout. */
export function printJson(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A plain table on stdout. */
export function printTable(head: string[], rows: (string | number)[][]): void {
  const table = new Table({ head, style: { head: [], border: [] } });
  table.push(...rows.map((row) => row.map(String)));
  process.stdout.write(`${table.toString()}\n`);
}

export function formatMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** Progress on stderr, and only where a person is looking at it. */
export class Progress {
  private readonly bar: SingleBar | undefined;
  private started = false;

  constructor(private readonly label: string) {
    if (process.stderr.isTTY) {
      this.bar = new SingleBar({
        stream: process.stderr,
        format: `{label} [{bar}] {value}/{total} {eta_formatted}`,
        clearOnComplete: true,
        hideCursor: true,
      });
    }
  }

  update(done: number, total: number): void {
    if (this.bar === undefined) return;
    if (!this.started) this.bar.start(total, 0, { label: this.label });
    this.started = true;
    this.bar.setTotal(total);
    this.bar.update(done);
  }

  stop(): void {
    this.bar?.stop();
  }
}
