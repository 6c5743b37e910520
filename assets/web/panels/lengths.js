// Draft lengths: one column per round, with the states of its drafts and the best length in hindsight.
import { linkOf, MOST_ROWS, NO_MORE, pattern, roundAxis } from "../lib/axes.js";
import { chartPanel, swatch } from "../lib/chart.js";
import { say } from "../lib/words.js";

const words = say.charts.lengths;
const MOST_ROUNDS = 48; // more columns would be too narrow to show their patterns

const numbersOf = (rounds) => rounds.map(({ number }) => number);

const part = (kind, rounds, marker) => ({
  type: "bar",
  name: kind,
  x: numbersOf(rounds),
  y: rounds.map(({ outcome }) => outcome[kind]),
  marker,
  cliponaxis: false,
  hovertemplate: say.charts.someInRound(say.states[kind]) + NO_MORE,
});

function dots(kind, rounds, marker) {
  const own = rounds.filter(({ outcome }) => outcome.next_kind === kind);
  return {
    type: "scatter",
    mode: "markers",
    name: kind,
    x: numbersOf(own),
    y: own.map(({ outcome }) => outcome.drafted + 0.6),
    marker,
    cliponaxis: false,
    hovertemplate: say.charts.inRound(say.states[kind]) + NO_MORE,
  };
}

// The best length in hindsight is the number of accepted drafts. If all were accepted it may be higher: an arrow upwards.
const bestOf = ({ outcome: { accepted, rejected } }) => (rejected ? String(accepted) : words.atLeast(accepted));

const hindsight = (rounds, theme) => ({
  type: "scatter",
  mode: "lines+markers",
  name: "best",
  x: numbersOf(rounds),
  y: rounds.map(({ outcome }) => outcome.accepted),
  text: rounds.map(bestOf),
  line: { color: theme("ink"), width: 1.5, shape: "hvh" },
  marker: { symbol: "triangle-up", size: 7, color: theme("ink"), opacity: rounds.map(({ outcome }) => (outcome.rejected ? 0 : 1)) },
  cliponaxis: false,
  hovertemplate: words.bestHover + NO_MORE,
});

function figure(state, theme) {
  const lane = state.lanes.eesd;
  const { done } = lane;
  const rounds = done.slice(-MOST_ROUNDS);
  const most = Math.max(4, ...done.map(({ outcome }) => outcome.drafted));
  return {
    data: [
      part("accepted", rounds, { color: theme("accepted") }),
      part("rejected", rounds, pattern(theme("rejected"), "x", theme("panel"))),
      part("untested", rounds, pattern(theme("untested"), "/", theme("panel"))),
      hindsight(rounds, theme),
      dots("correction", rounds, { color: theme("correction"), symbol: "diamond", size: 6 }),
      dots("bonus", rounds, { color: theme("bonus"), symbol: "circle", size: 6, line: { color: theme("bonus-ink"), width: 1 } }),
    ],
    layout: { barmode: "stack", bargap: 0.25, margin: { l: 34, r: 6, t: 4, b: 32 } },
    xaxis: roundAxis(rounds, 24),
    yaxis: { title: words.axis, range: [0, most + 1.2], nticks: 5, tickformat: "d" },
    label: words.label(lane),
    table: () => ({ columns: words.columns, rows: done.slice(-MOST_ROWS).map(rowOf) }),
    ...linkOf(rounds),
  };
}

function rowOf(round) {
  const { drafted, accepted, rejected, untested, next_kind: next } = round.outcome;
  return [round.number, drafted, accepted, rejected, untested, say.states[next] ?? "–", bestOf(round)];
}

export function lengths(view) {
  const states = ["accepted", "rejected", "untested", "correction", "bonus"].map((kind) => swatch(kind, say.states[kind]));
  return chartPanel("lengths", figure, view, words.title, ...states, swatch("best", words.best, words.bestHint));
}
