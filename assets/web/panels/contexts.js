// Beliefs by context, side by side, if the controller keeps several.
import { NO_MORE, shareAxis, whiskers } from "../lib/axes.js";
import { betaIntervals, meanOf } from "../lib/beta.js";
import { Chart, swatch } from "../lib/chart.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.charts.contexts;

function armsOf({ round }) {
  return (round?.learned ?? round?.posterior)?.arms ?? [];
}

// The binned quantity and the bin's borders, from an arm's label such as "confidence 0.3 to 0.4" or "certainty 0.3 to 0.4".
function binOf({ label }) {
  const [, kind, low, high] = /^(confidence|certainty) (\d\.\d) to (\d\.\d)$/.exec(label) ?? [];
  return kind && { kind, low: Number(low), high: Number(high) };
}

const byConfidence = (arms) => arms.length > 0 && arms.every((arm) => binOf(arm)?.kind === "confidence");

// The line on which the drafter would be right as often as it is confident.
const diagonal = (arms, bins, x, theme) => ({
  type: "scatter",
  mode: "lines",
  x,
  y: byConfidence(arms) ? bins.map(({ low, high }) => (low + high) / 2) : [],
  line: { color: theme("muted"), width: 1.5, dash: "dot" },
  hoverinfo: "skip",
});

function figure(state, theme) {
  const arms = armsOf(state.lanes.eesd);
  const bins = arms.map(binOf);
  const binned = bins.every(Boolean);
  const x = arms.map((_, i) => i);
  const values = arms.map(meanOf);
  const borders = arms.map(betaIntervals);
  const between = (low, high, width, thickness) =>
    whiskers(
      theme,
      values,
      borders.map((own) => [own[low], own[high]]),
      width,
      thickness,
    );
  const base = { type: "scatter", mode: "markers", x, y: values };
  const dots = {
    ...base,
    text: arms.map(({ label }) => words.arm(label)),
    marker: { symbol: "diamond", size: 8, color: theme("belief") },
    error_y: between(0, 3, 5, 1.2),
    hovertemplate: words.hover + NO_MORE,
  };
  const thick = { ...base, hoverinfo: "skip", marker: { size: 0.1 }, error_y: { ...between(1, 2, 0, 5), color: theme("belief") } };
  const names = arms.map(({ label }, i) => (binned ? String(bins[i].low + 0.05).slice(0, 4) : words.arm(label)));
  return {
    data: [diagonal(arms, bins, x, theme), thick, dots],
    layout: { margin: { l: 40, r: 10, t: 6, b: 32 } },
    xaxis: { title: words.axes[bins[0]?.kind] ?? "", range: [-0.6, arms.length - 0.4], showgrid: false, tickvals: x, ticktext: names },
    yaxis: shareAxis(words.share),
    label: words.label(arms),
    table: () => ({ columns: words.columns, rows: arms.map(rowOf) }),
  };
}

function rowOf(arm) {
  const borders = betaIntervals(arm);
  return [words.arm(arm.label), ...[arm.alpha, arm.beta, meanOf(arm), borders[0], borders[3]].map((value) => number(value))];
}

export class Contexts {
  constructor(view) {
    this.name = "contexts";
    this.calibrated = swatch("dotted", words.calibrated);
    this.charts = [new Chart("contexts", figure, view.link)];
    this.node = this.charts[0].panel(words.title, this.calibrated, swatch("interval", say.charts.belief.keys[1]));
  }

  draw(state) {
    const arms = armsOf(state.lanes.eesd);
    this.node.hidden = !arms.length;
    this.calibrated.hidden = !byConfidence(arms);
  }
}
