// @ts-check
/** The chart of latency by level: one panel per precision, our levels as a line, other runtimes as marks and rules. */
import * as vega from 'vega';
import { compile } from 'vega-lite';

/**
 * @typedef {object} Panel
 * @property {string} name of the precision
 * @property {{ shape: string, level: number, medianMs: number }[]} levels ours
 * @property {{ shape: string, peers: { name: string, batching: string, medianMs: number }[] }[]} shapes beside peers
 */

const shape = '1x128';
const ours = 'elasticlm';
/** Greys and colours of middle lightness: legible on a white page and on a dark one, since the background is left out. */
const textColor = '#7d8590';
const gridColor = '#7d859040';
/** A few lines per decade, of which the chart shows those in its range. */
const axisMs = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const colors = ['#3b82f6', '#e0762b', '#a371f7', '#2da44e'];

/**
 * @param {readonly Panel[]} panels
 * @param {readonly { name: string, prefix: string }[]} runtimes
 * @returns {Promise<string>} SVG
 */
export function cpuChart(panels, runtimes) {
  const values = panels.flatMap((panel) => [...ownPoints(panel), ...peerPoints(panel, runtimes)]);
  const names = [ours, ...runtimes.map(({ name }) => name)];
  const color = {
    field: 'runtime',
    type: /** @type {const} */ ('nominal'),
    scale: { domain: names, range: colors },
    legend: { title: null },
  };
  const y = {
    field: 'ms',
    type: /** @type {const} */ ('quantitative'),
    scale: { type: /** @type {const} */ ('log'), nice: false },
    axis: { title: 'ms, median (log)', values: axisMs },
  };
  const x = {
    field: 'level',
    type: /** @type {const} */ ('ordinal'),
    sort: /** @type {const} */ ('descending'),
    axis: { title: 'level', labelAngle: 0 },
  };
  const own = { filter: `datum.runtime === '${ours}'` };
  const peers = { filter: `datum.runtime !== '${ours}'` };
  const spec = compile({
    title: { text: 'One text of 128 tokens, one thread', color: textColor, fontWeight: 'normal' },
    data: { values },
    facet: {
      column: {
        field: 'precision',
        type: 'nominal',
        sort: panels.map(({ name }) => name),
        header: { title: null, labelColor: textColor, labelFontSize: 12 },
      },
    },
    spec: {
      width: 170,
      height: 220,
      layer: [
        { transform: [peers], mark: { type: 'rule', strokeDash: [2, 4] }, encoding: { y, color } },
        {
          transform: [peers],
          mark: { type: 'point', filled: true, size: 60, opacity: 1 },
          encoding: { x, y, color },
        },
        {
          transform: [own],
          mark: { type: 'line', point: { size: 60, opacity: 1 } },
          encoding: { x, y, color },
        },
      ],
    },
    config: {
      background: 'transparent',
      font: 'sans-serif',
      view: { stroke: null },
      axis: {
        labelColor: textColor,
        titleColor: textColor,
        gridColor,
        domainColor: textColor,
        tickColor: textColor,
        titleFontWeight: 'normal',
      },
      legend: { labelColor: textColor, orient: 'bottom', symbolType: 'circle' },
    },
  });
  return new vega.View(vega.parse(spec.spec), { renderer: 'none' }).toSVG();
}

/** @param {Panel} panel */
function ownPoints({ name, levels }) {
  return levels
    .filter((result) => result.shape === shape)
    .map(({ level, medianMs }) => ({ precision: name, runtime: ours, level, ms: medianMs }));
}

/**
 * Other runtimes have one size of the model: a point at level 1, the fastest of a runtime's forms.
 * @param {Panel} panel
 * @param {readonly { name: string, prefix: string }[]} runtimes
 */
function peerPoints({ name, shapes }, runtimes) {
  const { peers = [] } = shapes.find((result) => result.shape === shape) ?? {};
  return runtimes.flatMap((runtime) => {
    const forms = peers.filter((peer) => peer.name.startsWith(runtime.prefix));
    if (forms.length === 0) return [];
    const ms = Math.min(...forms.map(({ medianMs }) => medianMs));
    return [{ precision: name, runtime: runtime.name, level: 1, ms }];
  });
}
