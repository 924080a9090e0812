/**
 * What draws the report's charts in a browser, with uPlot in the global name of its script. Text and no function, because a
 * function's text is whatever a bundler makes of it.
 */
export const chartScript = String.raw`
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
// Okabe and Ito's colours, which people of any colour vision can tell apart; dashes tell them apart in print.
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const dashes = [[], [8, 4], [2, 3], [10, 4, 2, 4], [5, 2], [1, 2]];
const plots = [];

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(id, x, lines, axes) {
  const place = document.getElementById(id);
  const axis = (label) => ({ label, stroke: () => style('--ink'), grid: { stroke: () => style('--faint') }, ticks: { stroke: () => style('--faint') } });
  const options = {
    width: place.clientWidth,
    height: 260,
    scales: { x: axes.isLogX ? { time: false, distr: 3, range: [x[0] * 0.9, x[x.length - 1] * 1.1] } : { time: false }, y: axes.range ? { range: axes.range } : {} },
    axes: [axis(axes.x), { ...axis(axes.y), size: 64 }],
    series: [
      { label: axes.x },
      ...data.policies.map((label, idx) => ({
        label,
        stroke: colours[idx % colours.length],
        dash: dashes[idx % dashes.length],
        width: 2,
        spanGaps: false,
        points: { show: x.length < 20 },
      })),
    ],
  };
  plots.push({ place, plot: new uPlot(options, [x, ...lines], place) });
}

draw('quality', data.loads, data.quality, { x: 'load', y: 'quality', isLogX: true, range: [0, 1] });
draw('attainment', data.loads, data.attainment, { x: 'load', y: 'share in time', isLogX: true, range: [0, 1] });

data.perLoad.forEach((runs, idx) => {
  const most = Math.max(1, ...runs.flatMap(({ quantilesMs }) => quantilesMs.slice(-1)));
  const ms = Array.from({ length: 300 }, (_, step) => (most * (step + 1)) / 300);
  const shares = runs.map(({ quantilesMs }) =>
    ms.map((limit) => (quantilesMs.length === 0 ? null : quantilesMs.filter((one) => one <= limit).length / quantilesMs.length)),
  );
  draw('latency-' + idx, ms, shares, { x: 'latency, ms (deadline: ' + data.deadlineMs + ')', y: 'share', range: [0, 1] });
  const longest = runs.reduce((best, { series }) => (series && series.beginMs.length > best.length ? series.beginMs : best), []);
  const seconds = longest.map((begin) => begin / 1000);
  const over = (name) => runs.map(({ series }) => seconds.map((_, at) => (series ? (series[name][at] ?? null) : null)));
  draw('arrivals-' + idx, seconds, over('arrivalsPerSecond'), { x: 'time, s', y: 'arrivals / s' });
  draw('waiting-' + idx, seconds, over('waiting'), { x: 'time, s', y: 'waiting' });
  draw('level-' + idx, seconds, over('meanLevel'), { x: 'time, s', y: 'mean level', range: [0, 1] });
  draw('p99-' + idx, seconds, over('p99Ms'), { x: 'time, s', y: 'p99, ms' });
});

addEventListener('resize', () => plots.forEach(({ place, plot }) => plot.setSize({ width: place.clientWidth, height: 260 })));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plots.forEach(({ plot }) => plot.redraw()));
`;
