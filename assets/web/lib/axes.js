// What charts share: the axis of rounds and its link with the text, patterns, and intervals.
import { say } from "./words.js";

export const MOST_ROWS = 200; // of a chart's table; the latest are kept
export const NO_MORE = "<extra></extra>"; // otherwise plotly repeats the trace's name in a second box

// The axis of all charts over rounds: one column per round, with room for at least `least`.
export function roundAxis(rounds, least) {
  const first = rounds.length ? rounds[0].number : 1;
  const range = [first - 0.6, first + Math.max(least, rounds.length) - 0.4];
  return { title: say.charts.round, range, showgrid: false, nticks: 8, tickformat: "d" };
}

// Links a chart over rounds with the text: from a round to its column and back.
export function linkOf(rounds) {
  const isShown = (round) => round >= rounds[0]?.number && round <= rounds.at(-1).number;
  return {
    spanOf: (round) => (isShown(round) ? [round - 0.5, round + 0.5] : null),
    roundAt: (x) => (isShown(Math.round(x)) ? Math.round(x) : null),
  };
}

export const shareAxis = (title, more = {}) => ({ title, range: [0, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g", ...more });

export const pattern = (color, shape, background) => ({
  color: background,
  line: { color, width: 1 },
  pattern: { shape, fgcolor: color, bgcolor: background, size: 5, solidity: 0.35 },
});

// Error bars from `borders`: [low, high] of every value.
export const whiskers = (theme, values, borders, width, thickness) => ({
  type: "data",
  symmetric: false,
  color: theme("ink"),
  width,
  thickness,
  array: values.map((value, i) => Math.max(0, borders[i][1] - value)),
  arrayminus: values.map((value, i) => Math.max(0, value - borders[i][0])),
});
