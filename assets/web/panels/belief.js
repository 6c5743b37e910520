// The controller's belief over the rounds, with the verdicts that it came from.
import { linkOf, MOST_ROWS, NO_MORE, roundAxis } from "../lib/axes.js";
import { betaIntervals, isBeta, meanOf } from "../lib/beta.js";
import { chartPanel, swatch } from "../lib/chart.js";
import { disturbanceOf } from "../lib/disturbance.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.charts.belief;
const MOST_ROUNDS = 120; // with more, the ticks of the barcode would touch
const RIGHT_AT = -0.12; // rows of the barcode
const WRONG_AT = -0.26;

// The area between two of the four interval borders, as a closed outline.
function ribbon(rounds, low, high, fill) {
  const borders = rounds.map((round) => betaIntervals(round.posterior));
  const x = rounds.map((round) => round.number);
  return {
    type: "scatter",
    mode: "lines",
    x: [...x, ...x.toReversed()],
    y: [...borders.map((own) => own[high]), ...borders.map((own) => own[low]).toReversed()],
    fill: "toself",
    fillcolor: fill,
    line: { width: 0 },
    hoverinfo: "skip",
  };
}

const means = (rounds, theme) => ({
  type: "scatter",
  mode: "lines",
  x: rounds.map((round) => round.number),
  y: rounds.map((round) => meanOf(round.posterior)),
  line: { color: theme("belief"), width: 2 },
  hovertemplate: words.hover + NO_MORE,
});

// The first draw of each round, since rounds have different numbers of draws.
function draws(rounds, theme) {
  const own = rounds.filter((round) => Number.isFinite(round.decisions[0]?.terms.theta));
  return {
    type: "scatter",
    mode: "markers",
    x: own.map((round) => round.number),
    y: own.map((round) => round.decisions[0].terms.theta),
    marker: { symbol: "circle-open", size: 5, color: theme("ink"), opacity: 0.6 },
    hovertemplate: words.drew + NO_MORE,
  };
}

// Successes and failures in draft order, in their round's column; each kind has its own row and shape.
function ticks(kind, rounds, at, marker) {
  const x = rounds.flatMap((round) => {
    const { accepted, rejected, tested } = round.outcome;
    const place = (i) => round.number - 0.5 + (i + 0.5) / tested;
    if (kind === "accepted") return Array.from({ length: accepted }, (_, i) => place(i));
    return rejected ? [place(accepted)] : [];
  });
  return { type: "scatter", mode: "markers", x, y: x.map(() => at), marker, hoverinfo: "skip", cliponaxis: false };
}

function curves(rounds, theme) {
  if (!rounds.length) return [];
  const fill = theme("belief-fill");
  return [ribbon(rounds, 0, 3, fill), ribbon(rounds, 1, 2, fill), means(rounds, theme), draws(rounds, theme)];
}

function figure(state, theme) {
  const lane = state.lanes.eesd;
  const { done } = lane;
  const rounds = done.slice(-MOST_ROUNDS);
  const known = rounds.filter((round) => isBeta(round.posterior));
  const now = known.at(-1)?.learned ?? known.at(-1)?.posterior;
  const wrong = done.filter(({ outcome }) => outcome.rejected).length;
  const bars = [
    ticks("accepted", rounds, RIGHT_AT, { symbol: "line-ns", size: 9, line: { color: theme("accepted"), width: 2 } }),
    ticks("rejected", rounds, WRONG_AT, { symbol: "x-thin", size: 6, line: { color: theme("rejected"), width: 2 } }),
  ];
  const font = { color: theme("muted"), size: 12 * theme.scale };
  const none = { xref: "paper", yref: "paper", x: 0.5, y: 0.7, showarrow: false, text: words.none, font };
  const disturbed = disturbance(lane, rounds, theme);
  const notes = [...(rounds.length && !known.length ? [none] : []), ...disturbed.annotations];
  return {
    data: [...curves(known, theme), ...bars],
    layout: { margin: { l: 40, r: 6, t: 6, b: 32 }, annotations: notes, shapes: disturbed.shapes },
    xaxis: roundAxis(rounds, 24),
    yaxis: { title: words.axis, range: [-0.36, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g" },
    label: words.label(done.length, lane.accepted, wrong, now && isBeta(now) ? meanOf(now) : NaN),
    table: () => ({ columns: words.columns, rows: done.slice(-MOST_ROWS).map(rowOf) }),
    ...linkOf(rounds),
  };
}

// A line where the deliberately wrong drafts begin.
function disturbance(lane, rounds, theme) {
  const round = disturbanceOf(lane)?.round;
  if (!round || round < rounds[0].number) return { annotations: [], shapes: [] };
  const x = round - 0.5;
  const line = { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: theme("rejected"), width: 1.5, dash: "dash" } };
  const font = { color: theme("muted"), size: 11 * theme.scale };
  const text = { x, yref: "paper", y: 1, yanchor: "top", xanchor: "left", showarrow: false, text: words.disturbed, font };
  return { annotations: [text], shapes: [line] };
}

function rowOf({ number: round, posterior, outcome }) {
  const borders = isBeta(posterior) && betaIntervals(posterior);
  const own = borders ? [posterior.alpha, posterior.beta, meanOf(posterior), borders[0], borders[3]].map((value) => number(value)) : Array(5).fill("–");
  return [round, ...own, outcome.accepted, outcome.rejected];
}

export function belief(view) {
  const [mean, share, draw] = words.keys;
  const verdicts = ["accepted", "rejected"].map((kind) => swatch(kind, say.states[kind]));
  return chartPanel("belief", figure, view, words.title, swatch("line", mean), swatch("ribbon", share), swatch("draw", draw), ...verdicts);
}
