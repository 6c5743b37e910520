// Acceptance by position: of the rounds that tested a position, the share that accepted it. Also the histogram of accepted lengths: how many
// rounds accepted exactly so many drafts. The error bars are those of a Beta posterior with prior (1, 1).
import { NO_MORE, shareAxis, whiskers } from "../lib/axes.js";
import { betaIntervals } from "../lib/beta.js";
import { chartPanel, swatch } from "../lib/chart.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.charts.positions;

function countPlaces(lane) {
  const places = [];
  for (const { outcome } of lane.done) {
    for (let i = 0; i < outcome.tested; i += 1) {
      places[i] ??= { tested: 0, accepted: 0, last: 0 };
      places[i].tested += 1;
      if (i < outcome.accepted) places[i].accepted += 1;
      if (i === outcome.accepted - 1) places[i].last += 1;
    }
  }
  return places.map(({ tested, accepted, last }) => {
    const borders = betaIntervals({ alpha: accepted + 1, beta: tested - accepted + 1 });
    return { tested, accepted, last, share: accepted / tested, ends: [borders[0], borders[3]] };
  });
}

function figure(state, theme) {
  const places = countPlaces(state.lanes.eesd);
  const shares = places.map(({ share }) => share);
  const bars = {
    type: "bar",
    x: places.map((_, i) => i + 1),
    y: shares,
    marker: { color: theme("accepted") },
    error_y: whiskers(
      theme,
      shares,
      places.map(({ ends }) => ends),
      4,
      1.2,
    ),
    text: places.map(({ accepted, tested, last }) => words.hover(accepted, tested, last)),
    textposition: "none",
    hovertemplate: `%{text}${NO_MORE}`,
  };
  return {
    data: [bars],
    layout: { bargap: 0.35, margin: { l: 40, r: 6, t: 6, b: 32 } },
    xaxis: { title: words.axis, range: [0.4, Math.max(8, places.length) + 0.6], showgrid: false, dtick: 1, tickformat: "d" },
    yaxis: shareAxis(words.share),
    label: words.label(shares),
    table: () => ({ columns: words.columns, rows: places.map(rowOf) }),
  };
}

const rowOf = ({ tested, accepted, last, share, ends }, i) => [i + 1, tested, accepted, ...[share, ...ends].map((value) => number(value)), last];

export const positions = (view) => chartPanel("positions", figure, view, words.title, swatch("interval", words.interval));
