/**
 * A training log as one SVG: losses per level, the learning rate, and each evaluated metric per level, over the steps. Scales and
 * paths are d3-scale's and d3-shape's: under 1 MB with all they need, where vega and vega-lite would install 26 MB for
 * a package whose users mostly never draw.
 */
import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import type { TrainingLog } from './training-log.js';

interface Point {
  step: number;
  value: number;
}

interface Series {
  name: string;
  points: Point[];
}

interface Panel {
  title: string;
  series: Series[];
  isLogarithmic: boolean;
  /** with a mark at each point: there are few */
  hasMarks: boolean;
}

const width = 760;
const panelHeight = 200;
const margin = { left: 70, right: 110, top: 34, bottom: 34 };
/** Greys and colours of middle lightness: legible on a white page and on a dark one, since the background is left out. */
const textColor = '#7d8590';
const gridColor = '#7d859040';
/** The largest level first; then again from the beginning. */
const colors = ['#3b82f6', '#e0762b', '#2da44e', '#a371f7', '#d4427f', '#1b9aaa', '#9a6700', '#57606a'];
/** More points than this cannot be told apart: means of as many neighbours as it takes. */
const maxPoints = 400;
/** A student begins as its teacher: its first losses at level 1 would leave the others' a tenth of the height. */
const shownRatio = 1000;
const ticksX = 8;
const ticksY = 5;

/** @returns a document of its own, legible without any other file */
export function trainingChart({ steps, evaluations }: TrainingLog, title: string): string {
  const panels: Panel[] = [];
  const losses = byLevel(steps.map(({ step, losses }) => ({ step, values: totals(losses) })));
  if (losses.length > 0) {
    panels.push({ title: 'loss', series: losses.map(binned), isLogarithmic: true, hasMarks: false });
    const rates = steps.map(({ step, learningRate }) => ({ step, value: learningRate }));
    panels.push({
      title: 'learning rate',
      series: [binned({ name: '', points: rates })],
      isLogarithmic: false,
      hasMarks: false,
    });
  }
  const names = [...new Set(evaluations.flatMap(({ metrics }) => Object.keys(metrics)))];
  for (const name of names) {
    const measured = evaluations.map(({ step, metrics }) => ({ step, values: metrics[name] ?? {} }));
    panels.push({ title: name, series: byLevel(measured), isLogarithmic: false, hasMarks: true });
  }
  const last = Math.max(1, ...steps.map(({ step }) => step), ...evaluations.map(({ step }) => step));
  const height = margin.top + panels.length * (margin.top + panelHeight + margin.bottom);
  const drawn = panels.map((panel, idx) =>
    translate(0, margin.top + idx * (margin.top + panelHeight + margin.bottom), draw(panel, last)),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="${textColor}">`,
    text(width / 2, 20, title, 'text-anchor="middle" font-size="13"'),
    ...drawn,
    '</svg>',
    '',
  ].join('\n');
}

/** The chart as a page. */
export function chartPage(svg: string, title: string): string {
  return `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>${escape(title)}</title>\n<body>\n${svg}</body>\n</html>\n`;
}

function totals(losses: TrainingLog['steps'][number]['losses']): Record<string, number> {
  return Object.fromEntries(Object.entries(losses).map(([level, { total }]) => [level, total]));
}

/** One series for each level, the largest first. */
function byLevel(rows: readonly { step: number; values: Readonly<Record<string, number>> }[]): Series[] {
  const series = new Map<string, Point[]>();
  for (const { step, values } of rows) {
    for (const [level, value] of Object.entries(values)) {
      if (!Number.isFinite(value)) continue;
      const points = series.get(level) ?? [];
      points.push({ step, value });
      series.set(level, points);
    }
  }
  return [...series]
    .map(([name, points]) => ({ name, points }))
    .sort((a, b) => Number(b.name) - Number(a.name));
}

function binned({ name, points }: Series): Series {
  const size = Math.ceil(points.length / maxPoints);
  const bins: Point[] = [];
  for (let begin = 0; begin < points.length; begin += size) {
    const bin = points.slice(begin, begin + size);
    const mean = (pick: (point: Point) => number): number =>
      bin.reduce((sum, point) => sum + pick(point), 0) / bin.length;
    bins.push({ step: mean(({ step }) => step), value: mean(({ value }) => value) });
  }
  return { name, points: bins };
}

function draw(panel: Panel, lastStep: number): string {
  const values = panel.series.flatMap(({ points }) => points.map(({ value }) => value));
  const low = Math.min(...values);
  const high = Math.max(...values);
  const usesLog = panel.isLogarithmic && low > 0;
  // A single value would be a domain without extent.
  const spread = high > low ? 0 : Math.abs(high) * 0.1 || 1;
  const top = high + spread;
  const domain = usesLog ? [Math.max(low, top / shownRatio), top] : [low - spread, top];
  const range = [panelHeight, 0];
  const y = usesLog ? scaleLog(domain, range).nice().clamp(true) : scaleLinear(domain, range).nice();
  const x = scaleLinear([0, lastStep], [margin.left, width - margin.right]);
  const path = line<Point>()
    .x(({ step }) => x(step))
    .y(({ value }) => y(value));
  const label = usesLog ? y.tickFormat(ticksY, '~g') : y.tickFormat(ticksY);
  const lines: string[] = [text(margin.left, -10, panel.title)];
  for (const tick of y.ticks(ticksY)) {
    lines.push(rule(margin.left, y(tick), width - margin.right, y(tick)));
    const shown = label(tick);
    if (shown !== '') lines.push(text(margin.left - 6, y(tick) + 4, shown, 'text-anchor="end"'));
  }
  for (const tick of x.ticks(ticksX)) {
    lines.push(text(x(tick), panelHeight + 18, tick.toLocaleString('en'), 'text-anchor="middle"'));
  }
  for (const [idx, { name, points }] of panel.series.entries()) {
    const color = colors[idx % colors.length]!;
    lines.push(`<path d="${path(points) ?? ''}" fill="none" stroke="${color}" stroke-width="1.5"/>`);
    if (panel.hasMarks || points.length === 1) {
      for (const { step, value } of points) {
        lines.push(`<circle cx="${round(x(step))}" cy="${round(y(value))}" r="2.5" fill="${color}"/>`);
      }
    }
    if (name === '') continue;
    const legendY = 10 + 16 * idx;
    const legendX = width - margin.right + 16;
    lines.push(`<circle cx="${legendX}" cy="${legendY - 4}" r="4" fill="${color}"/>`);
    lines.push(text(legendX + 10, legendY, `level ${name}`));
  }
  return lines.join('\n');
}

function translate(x: number, y: number, content: string): string {
  return `<g transform="translate(${round(x)},${round(y)})">\n${content}\n</g>`;
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escape(content)}</text>`;
}

function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<path d="M${round(x1)},${round(y1)}L${round(x2)},${round(y2)}" stroke="${gridColor}"/>`;
}

function round(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** The characters that XML allows, those with a meaning escaped. */
function escape(content: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  return (
    content
      // eslint-disable-next-line no-control-regex -- control characters are what XML refuses
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
      .replace(/[&<>"]/g, (character) => entities[character]!)
  );
}
