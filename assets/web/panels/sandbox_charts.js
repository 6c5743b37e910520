// The sandbox's charts. Every figure shows a trial (lib/made_up.js). A controller has the same colour, dash and symbol in all of them.
import { NO_MORE, shareAxis } from "../lib/axes.js";
import { betaCurve, betaIntervals, meanOf } from "../lib/beta.js";
import { MAX_DRAFT } from "../lib/controllers.js";
import { chanceAt, EVERY, STAY, TOKENS } from "../lib/made_up.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.sandbox;
const WINDOW = 16; // points of a curve that a speed is averaged over: 400 tokens
const WARM = 4; // with fewer points a speed is mostly chance
const STRIDE = 4; // points between two intervals, which are costly to compute
const ROW = 8; // points between two rows of a table
const POSITIONS = 4; // how many positions are shown if the rate falls

const LOOKS = {
  beta: { color: "belief", width: 2, dash: "solid", symbol: "circle" },
  throughput: { color: "accepted-ink", width: 2.5, dash: "solid", symbol: "diamond" },
  ucb: { color: "bonus-ink", width: 2, dash: "dash", symbol: "square" },
  fixed: { color: "untested-ink", width: 2, dash: "dot", symbol: "x" },
};

const lineOf = (name, theme) => ({ color: theme(LOOKS[name].color), width: LOOKS[name].width, dash: LOOKS[name].dash });
const curve = (x, y, line, more) => ({ type: "scatter", mode: "lines", x, y, line, ...more });
const tokensOf = (values) => values.map((_, i) => EVERY * i);
const textAxis = { title: words.axis, range: [0, TOKENS], tickvals: [0, 1000, 2000, 3000, 4000], tickformat: ",d", showgrid: false };
const margin = { l: 46, r: 88, t: 8, b: 34 };
const PLOT = 190; // approximate height in pixels

// Labels at the ends of lines, moved apart where they would overlap. `ends`: [text, y, colour].
function names(ends, [low, high], theme) {
  const least = (14 * theme.scale * (high - low)) / PLOT;
  const sorted = ends.filter(([, y]) => Number.isFinite(y)).toSorted((a, b) => a[1] - b[1]);
  const places = [];
  for (const [, y] of sorted) places.push(Math.max(y, low, (places.at(-1) ?? -Infinity) + least));
  for (let i = places.length - 1; i >= 0; i -= 1) places[i] = Math.min(places[i], (places[i + 1] ?? high + least) - least);
  const font = (color) => ({ color: theme(color), size: 11 * theme.scale });
  const look = { x: 1, xref: "paper", xanchor: "left", xshift: 4, showarrow: false };
  return sorted.map(([text, , color], i) => ({ ...look, y: places[i], text, font: font(color) }));
}

// One curve per controller, and a horizontal reference line.
function curves(trial, theme, own, valuesOf, base) {
  const all = Object.entries(trial.lanes).map(([name, lane]) => [name, valuesOf(lane)]);
  const known = [base.at, ...all.flatMap(([, values]) => values.filter(Number.isFinite))];
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const room = 0.06 * (high - low) || 1;
  const range = [low - room, high + room];
  const ends = all.map(([name, values]) => [name, values.at(-1), LOOKS[name].color]);
  const line = { color: theme("ink"), width: 1, dash: "dash" };
  const drawn = ([name, values]) => curve(tokensOf(values), values, lineOf(name, theme), { hovertemplate: words.hover(name) + NO_MORE });
  const isRow = (i) => i % ROW === 0 || i === trial.points - 1;
  const rows = () => tokensOf(all[0][1]).flatMap((tokens, i) => (isRow(i) ? [[tokens, ...all.map(([, values]) => number(values[i]))]] : []));
  return {
    data: [curve([0, TOKENS], [base.at, base.at], line, { hoverinfo: "skip" }), ...all.map(drawn)],
    layout: { margin, annotations: names([...ends, [base.name, base.at, "muted"]], range, theme) },
    xaxis: textAxis,
    yaxis: { title: own.axis, range, nticks: 6 },
    label: own.label(ends),
    table: () => ({ columns: [words.axis, ...Object.keys(trial.lanes)], rows: rows() }),
  };
}

const speed = (trial, theme) => curves(trial, theme, words.speed, (lane) => trial.speed(lane, WINDOW, WARM), { at: 1, name: words.plain });
const lost = (trial, theme) => curves(trial, theme, words.lost, (lane) => trial.regret(lane), { at: 0, name: words.best(trial.best) });

// The true rates over the whole text: [name, places, chances]. For a falling rate, one per position, for the first few.
function truths({ settings }) {
  const { kind } = settings;
  const place = (_, i) => [words.position(i + 1), [0, TOKENS], [i, i].map((at) => chanceAt(settings, 0, at))];
  if (kind === "falling") return Array.from({ length: POSITIONS }, place);
  const places = Array.from({ length: TOKENS / STAY }, (_, i) => [i * STAY, (i + 1) * STAY]).flat();
  return [[words.true, places, places.map((_, i) => chanceAt(settings, STAY * Math.floor(i / 2), 0))]];
}

function course(trial, theme) {
  const { beta, throughput } = trial.lanes;
  const [own, other] = [beta, throughput].map((lane) => lane.beliefs.slice(0, trial.points));
  const picked = own.map((_, i) => i).filter((i) => i < STRIDE || i % STRIDE === 0 || i === own.length - 1);
  const borders = picked.map((i) => betaIntervals(own[i]));
  const x = picked.map((i) => EVERY * i);
  const ribbon = curve([...x, ...x.toReversed()], [...borders.map((of) => of[3]), ...borders.map((of) => of[0]).toReversed()], { width: 0 });
  const means = (name, beliefs) => curve(tokensOf(beliefs), beliefs.map(meanOf), lineOf(name, theme), { hovertemplate: words.hover(name) + NO_MORE });
  const real = truths(trial);
  const line = { color: theme("ink"), width: 1, dash: "dash" };
  const ends = [
    ["beta", meanOf(own.at(-1)), LOOKS.beta.color],
    ["throughput", meanOf(other.at(-1)), LOOKS.throughput.color],
    ...real.map(([name, , values]) => [name, values.at(-1), "muted"]),
  ];
  const rowOf = (i, k) => [EVERY * i, ...[meanOf(own[i]), borders[k][0], borders[k][3], meanOf(other[i])].map((value) => number(value))];
  return {
    data: [
      { ...ribbon, fill: "toself", fillcolor: theme("belief-fill"), hoverinfo: "skip" },
      ...real.map(([, places, values]) => curve(places, values, line, { hoverinfo: "skip" })),
      means("throughput", other),
      means("beta", own),
    ],
    layout: { margin, annotations: names(ends, [0, 1], theme) },
    xaxis: textAxis,
    yaxis: shareAxis(words.course.axis),
    label: words.course.label(own.at(-1)),
    table: () => ({ columns: words.course.columns, rows: picked.map(rowOf) }),
  };
}

function now(trial, theme) {
  const { alpha, beta } = trial.settings;
  const beliefs = ["beta", "throughput"].map((name) => [name, trial.lanes[name].beliefs[trial.points - 1]]);
  const density = (name, belief, line, more) => {
    const { x, y } = betaCurve(belief);
    return curve(x, y, line, { hovertemplate: words.now.hover(name) + NO_MORE, ...more });
  };
  const fill = { fill: "tozeroy", fillcolor: theme("belief-fill") };
  const [own, other] = beliefs.map(([name, belief], i) => density(name, belief, lineOf(name, theme), i ? {} : fill));
  const prior = density(words.prior, { alpha, beta }, { color: theme("muted"), width: 1.5, dash: "dot" });
  const place = Math.max(0, trial.reached - 1);
  const real = truths(trial).map(([, , values], i) => (values.length > 2 ? chanceAt(trial.settings, place, 0) : chanceAt(trial.settings, 0, i)));
  const line = { color: theme("ink"), width: 1, dash: "dash" };
  const numbers = (belief) => [belief.alpha, belief.beta, meanOf(belief)].map((value) => number(value));
  const rows = [[words.prior, { alpha, beta }], ...beliefs].map(([name, belief]) => [name, ...numbers(belief)]);
  return {
    data: [...real.map((rate) => curve([rate, rate], [0, 1.05], line, { hoverinfo: "skip" })), prior, other, own],
    layout: { margin: { ...margin, r: 12 } },
    xaxis: { title: words.now.axis, range: [0, 1], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g", showgrid: false },
    yaxis: { title: words.now.density, range: [0, 1.08], tickvals: [0, 0.5, 1] },
    label: words.now.label(rows.slice(1)),
    table: () => ({ columns: words.now.columns, rows }),
  };
}

function lengths(trial, theme) {
  const all = Object.entries(trial.lanes).map(([name, lane]) => [name, sharesOf(lane)]);
  const ks = Array.from({ length: MAX_DRAFT + 1 }, (_, k) => k);
  const highest = Math.max(0.05, ...all.filter(([name]) => name !== "fixed").flatMap(([, shares]) => shares));
  const drawn = ([name, shares]) => ({
    ...curve(ks, shares, lineOf(name, theme), { hovertemplate: words.lengths.hover(name) + NO_MORE }),
    mode: "lines+markers",
    marker: { symbol: LOOKS[name].symbol, size: 6, color: theme(LOOKS[name].color) },
  });
  const line = { color: theme("ink"), width: 1, dash: "dash" };
  return {
    data: [curve([trial.best, trial.best], [0, 1.1 * highest], line, { hoverinfo: "skip" }), ...all.filter(([name]) => name !== "fixed").map(drawn)],
    layout: { margin: { ...margin, r: 12 } },
    xaxis: { title: words.lengths.axis, range: [-0.5, MAX_DRAFT + 0.5], dtick: 1, tickformat: "d", showgrid: false },
    yaxis: { title: words.lengths.share, range: [0, 1.1 * highest], nticks: 5, tickformat: ".0%" },
    label: words.lengths.label(Object.entries(trial.lanes).map(([name, lane]) => [name, lane.meanLength])),
    table: () => ({ columns: [words.lengths.column, ...all.map(([name]) => name)], rows: ks.map((k) => [k, ...all.map(([, shares]) => number(shares[k]))]) }),
  };
}

function sharesOf({ lengths: chosen }) {
  const counts = new Array(MAX_DRAFT + 1).fill(0);
  for (const length of chosen) counts[length] += 1;
  return counts.map((count) => count / Math.max(1, chosen.length));
}

export const FIGURES = { speed, lost, course, now, lengths };
