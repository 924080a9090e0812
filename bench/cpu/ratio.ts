/** Measured ratios beside the bars that the project has set itself. */

export interface Bar {
  atLeast?: number;
  atMost?: number;
}

/** A measured ratio as it stands in a record; without a bar it is for information. */
export interface Ratio extends Bar {
  value: number;
}

/** Collects what missed its bar while a run measures. */
export class Bars {
  readonly missed: string[] = [];

  /** Says what was measured, on stderr too. `bar` undefined: for information. */
  ratio(what: string, value: number, bar: Bar = {}): Ratio {
    const { atLeast = -Infinity, atMost = Infinity } = bar;
    // written so that NaN misses every bar
    const met =
      (bar.atLeast === undefined && bar.atMost === undefined) || (value >= atLeast && value <= atMost);
    const limit = [
      bar.atLeast === undefined ? '' : ` (at least ${bar.atLeast})`,
      bar.atMost === undefined ? '' : ` (at most ${round(bar.atMost)})`,
    ].join('');
    process.stderr.write(`${met ? '  ' : '! '}${what}: ${round(value)}${limit}\n`);
    if (!met) this.missed.push(`${what}: ${round(value)}${limit}`);
    return { value, ...bar };
  }
}

function round(value: number): string {
  return value.toFixed(3);
}
