// The last 15 minutes, as the server has kept them.

import { $, h, text } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 104;
const FONT = "11px system-ui, sans-serif";

/** Title, the number of the last minute, its lines (of the history, colour, name), and how numbers are written. */
const CHARTS = [
  {
    title: "Requests per second",
    now: (latest) => format.rate(latest.requests / span(latest)),
    lines: [{ of: (history) => perSecond(history, history.requests), colour: "accent", name: "requests", filled: true }],
    format: format.rate,
    tick: format.ticks.rate,
  },
  {
    title: "Error rate",
    now: (latest) => format.percent(failing(latest)),
    tone: (latest) => (failing(latest) >= 0.05 ? "bad" : failing(latest) > 0 ? "warn" : ""),
    lines: [
      { of: (history) => share(history, history.failed), colour: "bad", name: "failed", filled: true },
      { of: (history) => share(history, history.refused), colour: "muted", name: "refused", dash: [3, 3] },
    ],
    format: format.percent,
    tick: format.ticks.percent,
    most: 1,
  },
  {
    title: "Latency",
    now: (latest) => format.millis(latest.p95_ms),
    is: "p95",
    lines: [
      { of: (history) => history.p95_ms, colour: "accent", name: "p95", gaps: true },
      { of: (history) => history.p50_ms, colour: "muted", name: "p50", dash: [3, 3], gaps: true },
    ],
    format: format.millis,
    tick: format.ticks.millis,
  },
  {
    title: "Tokens per second",
    now: (latest) => format.rate(latest.tokens / span(latest)),
    lines: [{ of: (history) => perSecond(history, history.tokens), colour: "accent", name: "tokens", filled: true }],
    format: format.rate,
    tick: format.ticks.rate,
  },
];

/** Right after a start there is not even a second. */
const span = ({ seconds }) => Math.max(seconds, 1);
const failing = ({ requests, failed }) => (requests ? failed / requests : null);
const perSecond = ({ step_seconds: step }, counts) => counts.map((n) => n / step);
const share = ({ requests }, counts) => counts.map((n, i) => (requests[i] ? n / requests[i] : null));

/** The theme's colours, read where style sheets have resolved them. */
const colours = {};
function readColours() {
  const probe = h("i", { class: "probe", hidden: "" });
  document.body.append(probe);
  for (const name of ["accent", "bad", "muted", "line"]) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
}

const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)");

const charts = [];

/** Shows the numbers of one answer. */
export function showCharts({ history, latest }) {
  if (charts.length === 0) CHARTS.forEach(build);
  const length = history.requests.length;
  const times = Array.from({ length }, (_, i) => history.until - (length - i - 0.5) * history.step_seconds);
  for (const chart of charts) {
    const { spec } = chart;
    chart.data = [times, ...spec.lines.map((line) => line.of(history))];
    chart.now = spec.now(latest);
    chart.figure.dataset.tone = spec.tone?.(latest) ?? "";
    chart.plot.setData(chart.data);
    describe(chart);
    read(chart, chart.plot);
  }
}

function build(spec) {
  if (charts.length === 0) readColours();
  const number = h("b", { class: "number" }, format.NONE);
  const when = h("span", { class: "muted" });
  const keys = spec.lines.length > 1 ? spec.lines.map(({ name, colour, dash }) => h("span", { class: "key", "data-colour": colour, "data-dashed": dash ? "" : null }, name)) : [];
  const canvas = h("div", { class: "plot", role: "img" });
  const figure = h("figure", { class: "chart" }, h("figcaption", {}, h("span", { class: "title" }, spec.title), h("span", { class: "keys" }, keys)), h("p", { class: "reading" }, number, when), canvas);
  $("charts").append(figure);
  const chart = { spec, figure, number, when, canvas, data: null, now: format.NONE };
  chart.plot = new uPlot(options(chart), [[], ...spec.lines.map(() => [])], canvas);
  charts.push(chart);
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== chart.plot.width) chart.plot.setSize({ width, height: HEIGHT });
  }).observe(canvas);
}

function options(chart) {
  const { lines, tick, most } = chart.spec;
  const axis = { stroke: () => colours.muted, font: FONT, ticks: { show: false } };
  return {
    width: Math.max(chart.canvas.clientWidth, 100),
    height: HEIGHT,
    padding: [6, 6, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "berry" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, ceiling(max, most)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 20, space: 60, values: (_, ticks) => ticks.map((at) => format.hour(at * 1000)) },
      { ...axis, grid: { stroke: () => colours.line, width: 1 }, size: width, splits: (_, __, min, max) => [min, max / 2, max], values: (_, ticks) => ticks.map((n, i) => (i === 1 ? "" : tick(n))) },
    ],
    series: [{}, ...lines.map((line) => series(line))],
    hooks: { setCursor: [(plot) => read(chart, plot)] },
  };
}

function series({ colour, dash, filled, gaps }) {
  return {
    stroke: () => colours[colour],
    fill: filled ? () => faint(colours[colour]) : undefined,
    width: 1.5,
    dash,
    spanGaps: gaps ?? false,
    points: { show: gaps ?? false ? (plot, i) => plot.data[i].filter((n) => n !== null).length < 3 : false, size: 4 },
  };
}

/** Room for the longest label. */
function width(plot, labels) {
  const longest = Math.max(0, ...(labels ?? []).map((label) => label.length));
  return Math.max(24, 8 + longest * 6.5);
}

/** A round number over the highest point. */
function ceiling(max, most = Infinity) {
  if (!max) return most === 1 ? 0.1 : 1;
  const power = 10 ** Math.floor(Math.log10(max));
  const round = [1, 2, 4, 6, 8, 10].find((n) => n * power >= max * 1.02) ?? 20;
  return Math.min(round * power, most);
}

/** What the lines were at the cursor, or in the last minute. */
function read(chart, plot) {
  const { idx, left } = plot.cursor;
  const { spec, data } = chart;
  if (!data || idx === null || idx === undefined || left < 0) {
    text(chart.number, chart.now);
    const none = `no ${spec.is ? "answer" : "request"} in the last minute`;
    text(chart.when, chart.now === format.NONE ? none : [spec.is, "last minute"].filter(Boolean).join(", "));
    return;
  }
  const [first, ...rest] = spec.lines.map(({ name }, i) => [name, spec.format(data[i + 1][idx])]);
  text(chart.number, first[1]);
  const others = rest.map(([name, value]) => `${name} ${value}`);
  text(chart.when, [...others, format.time(data[0][idx] * 1000)].join(" · "));
}

/** The same for those who cannot see it. */
function describe({ spec, canvas, data, now }) {
  const values = data[1].filter((n) => n !== null);
  const highest = values.length ? spec.format(Math.max(...values)) : format.NONE;
  canvas.setAttribute("aria-label", `${spec.title} over the last 15 minutes: ${now} in the last minute, at most ${highest}`);
}

document.addEventListener("berry:theme", () => {
  readColours();
  for (const { plot } of charts) plot.redraw();
});
