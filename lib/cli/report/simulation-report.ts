/** The report of `elasticlm simulate`: one HTML file with its data, its script and its styles, that asks for nothing else. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { LatencyHistogram, Profile, Summary, TimeSeries } from '../../index.js';
import { chartScript } from './chart-script.js';
import { chartStyles } from './chart-styles.js';

export interface ReportedRun {
  load: number;
  policy: string;
  summary: Summary;
  latencies: LatencyHistogram;
  series?: TimeSeries;
}

export interface SimulationReport {
  profile: Profile;
  runs: readonly ReportedRun[];
  /** name and value, for people */
  facts: readonly [string, string][];
  deadlineMs: number;
}

/** Points of a distribution's curve. */
const numShares = 200;

/** @throws when uPlot's files are not where its package has them */
export async function simulationReport(report: SimulationReport): Promise<string> {
  const uplot = await plotLibrary();
  const loads = [...new Set(report.runs.map(({ load }) => load))];
  const body = [
    '<h1>Simulated schedules</h1>',
    factList([['levels of', report.profile.machine], ...report.facts]),
    '<h2>By load</h2>',
    '<p>Load 1 keeps a server busy that runs each request alone at the largest level. Quality: the mean over all requests that came, where one that is late, refused or expired counts 0.</p>',
    chartPlace('quality', 'Effective quality against load'),
    chartPlace('attainment', 'Share of all requests answered by their deadline, against load'),
    resultTable(report.runs),
    ...loads.flatMap((load, idx) => [
      `<h2>Load ${load}</h2>`,
      chartPlace(`latency-${idx}`, `Distribution of latency at load ${load}, in ms`),
      chartPlace(`arrivals-${idx}`, `Arrivals per second at load ${load}, over seconds`),
      chartPlace(`waiting-${idx}`, `Requests waiting at load ${load}, over seconds`),
      chartPlace(`level-${idx}`, `Mean level at load ${load}, over seconds`),
      chartPlace(`p99-${idx}`, `99th percentile of latency in ms at load ${load}, over seconds`),
    ]),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simulated schedules</title>
<style>${uplot.styles}${chartStyles}</style>
</head>
<body>
<main>
${body.join('\n')}
</main>
<script type="application/json" id="data">${scriptSafe(JSON.stringify(dataOf(report, loads)))}</script>
<script>${scriptSafe(uplot.script)}</script>
<script>${scriptSafe(chartScript)}</script>
</body>
</html>
`;
}

async function plotLibrary(): Promise<{ script: string; styles: string }> {
  const { resolve } = createRequire(import.meta.url);
  const [script, styles] = await Promise.all([
    readFile(resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
    readFile(resolve('uplot/dist/uPlot.min.css'), 'utf8'),
  ]);
  return { script, styles };
}

/** What the page's script draws; see chart-script.ts. */
function dataOf({ runs, deadlineMs }: SimulationReport, loads: readonly number[]): object {
  const policies = [...new Set(runs.map(({ policy }) => policy))];
  const find = (load: number, policy: string): ReportedRun | undefined =>
    runs.find((run) => run.load === load && run.policy === policy);
  const byLoad = (of: (summary: Summary) => number | null): (number | null)[][] =>
    policies.map((policy) =>
      loads.map((load) => {
        const run = find(load, policy);
        return run === undefined ? null : of(run.summary);
      }),
    );
  return {
    policies,
    loads,
    deadlineMs,
    quality: byLoad(({ effectiveQuality }) => effectiveQuality),
    attainment: byLoad(({ attainmentOfOffered }) => attainmentOfOffered),
    perLoad: loads.map((load) =>
      policies.map((policy) => {
        const run = find(load, policy);
        return {
          series: run?.series ?? null,
          quantilesMs: run === undefined ? [] : quantilesOf(run.latencies),
        };
      }),
    ),
  };
}

/** [numShares] latencies at equal steps of the share that they are not exceeded by, the last one the longest. */
function quantilesOf(latencies: LatencyHistogram): number[] {
  if (latencies.count === 0) return [];
  return Array.from({ length: numShares }, (_, idx) => latencies.quantileMs((idx + 1) / numShares));
}

function chartPlace(id: string, title: string): string {
  return `<figure><figcaption id="${id}-title">${title}</figcaption><div class="chart" id="${id}" role="img" aria-labelledby="${id}-title"></div></figure>`;
}

function factList(facts: readonly [string, string][]): string {
  const items = facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`);
  return `<dl>${items.join('')}</dl>`;
}

/** The charts' numbers, for those who cannot see them and those who want them. */
function resultTable(runs: readonly ReportedRun[]): string {
  const head = [
    'load',
    'policy',
    'in time',
    'in time of accepted',
    'quality',
    'p50 ms',
    'p95 ms',
    'p99 ms',
    'mean level',
  ];
  const rows = runs.map(({ load, policy, summary }) => [
    String(load),
    policy,
    share(summary.attainmentOfOffered),
    share(summary.attainmentOfAdmitted),
    decimals(summary.effectiveQuality, 4),
    decimals(summary.latencyMs?.p50, 1),
    decimals(summary.latencyMs?.p95, 1),
    decimals(summary.latencyMs?.p99, 1),
    decimals(summary.meanLevel, 3),
  ]);
  const cells = (tag: 'th' | 'td', texts: readonly string[]): string =>
    `<tr>${texts.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join('')}</tr>`;
  return `<table><thead>${cells('th', head)}</thead><tbody>${rows.map((row) => cells('td', row)).join('\n')}</tbody></table>`;
}

function share(value: number | null): string {
  return value === null ? '–' : `${(value * 100).toFixed(2)}%`;
}

function decimals(value: number | null | undefined, count: number): string {
  return value === null || value === undefined ? '–' : value.toFixed(count);
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** Inside a script element only the beginning of its end, or of a comment, means something. */
function scriptSafe(text: string): string {
  return text.replace(/<(?=[/!])/g, '\\u003c');
}
