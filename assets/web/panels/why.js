// Why this draft length: the controller's belief, the draws from it, and every decision in words.
import { betaCurve, isBeta, meanOf } from "../lib/beta.js";
import { NO_MORE } from "../lib/axes.js";
import { Chart, swatch } from "../lib/chart.js";
import { el, setText } from "../lib/elements.js";
import { decided, reasonOf } from "../lib/explain.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.why;
const OLD_DRAWS = 20;
const SHORT = 26; // characters of a decision, of which two fit beside each other

const finished = (lane) => lane.rounds.filter((round) => round.decisions.length);

const draws = (lane) =>
  finished(lane)
    .slice(-OLD_DRAWS)
    .flatMap((round) => round.decisions.map(({ terms }) => terms.theta))
    .filter(Number.isFinite);

function figure(state, theme) {
  const lane = state.lanes.eesd;
  const round = lane.drafting;
  const axes = {
    layout: { margin: { l: 34, r: 8, t: 6, b: 32 }, annotations: [] },
    xaxis: { title: words.axis, range: [0, 1], tickvals: [0, 0.25, 0.5, 0.75, 1] },
    yaxis: { title: words.density, range: [-0.16, 1.1], tickvals: [0, 1], showgrid: false },
    table: () => ({ columns: words.columns, rows: (round?.decisions ?? []).map((own, i) => [i + 1, number(own.terms.theta), decided(own, round.stop)]) }),
  };
  if (!isBeta(round?.posterior)) return { ...axes, data: [], label: words.noCurve };
  const now = betaCurve(round.posterior);
  const drawn = draws(lane).slice(-OLD_DRAWS);
  const theta = round.decisions.at(-1)?.terms.theta;
  axes.layout.annotations.push(reading(round.posterior, theta, theme));
  const arms = round.posterior.arms ?? [];
  return {
    ...axes,
    data: [...arms.map((arm) => context(arm, theme)), learned(round, theme), belief(now, theme), ticks(drawn, theme), draw(now, theta, theme)],
    label: words.label(round.posterior, theta),
  };
}

// The numbers are on the side where the curve is low.
const reading = (posterior, theta, theme) => {
  const { alpha, beta } = posterior;
  const left = alpha >= beta;
  const lines = [`Beta(${number(alpha, 1)}, ${number(beta, 1)})`, words.mean(meanOf(posterior)), words.thisDraw(theta)];
  return {
    xref: "paper",
    yref: "paper",
    x: left ? 0.02 : 0.98,
    xanchor: left ? "left" : "right",
    y: 1,
    yanchor: "top",
    align: "left",
    showarrow: false,
    text: lines.join("<br>"),
    font: { color: theme("muted"), size: 12 * theme.scale },
    bgcolor: theme("panel"),
    opacity: 0.85,
  };
};

const belief = ({ x, y }, theme) => ({
  type: "scatter",
  mode: "lines",
  x,
  y,
  fill: "tozeroy",
  fillcolor: theme("belief-fill"),
  line: { color: theme("belief"), width: 2 },
  hoverinfo: "skip",
});

// The belief of one context, if the controller keeps several.
const context = (arm, theme) => {
  const { x, y } = betaCurve(arm);
  return { type: "scatter", mode: "lines", x, y, opacity: 0.55, line: { color: theme("untested"), width: 1 }, hoverinfo: "skip" };
};

const learned = (round, theme) => {
  const { x, y } = isBeta(round.learned) ? betaCurve(round.learned) : { x: [], y: [] };
  return { type: "scatter", mode: "lines", x, y, line: { color: theme("belief"), width: 1.2, dash: "dot" }, hoverinfo: "skip" };
};

const ticks = (drawn, theme) => ({
  type: "scatter",
  mode: "markers",
  x: drawn,
  y: drawn.map(() => -0.08),
  hovertemplate: words.drew + NO_MORE,
  marker: {
    symbol: "line-ns",
    size: 9,
    line: { color: theme("ink"), width: 1.5 },
    opacity: drawn.map((_, i) => 0.15 + 0.75 * ((i + 1) / drawn.length)),
  },
});

const draw = (curve, theta, theme) => {
  const known = Number.isFinite(theta);
  return {
    type: "scatter",
    mode: "lines+markers",
    x: known ? [theta, theta] : [],
    y: known ? [0, curve.at(theta)] : [],
    line: { color: theme("ink"), width: 1.5 },
    hovertemplate: words.thisDraw(theta) + NO_MORE,
    marker: { color: theme("ink"), size: [0, 9], line: { color: theme("panel"), width: 1.5 } },
  };
};

// "1 draft", or "1 draft with 4 siblings": the controller is asked about the spine alone.
export function draftsIn({ decisions, drafts, tokens }) {
  return words.drafts(decisions.length, tokens.slice(0, drafts.length).filter(({ sibling }) => sibling).length);
}

// "theta 0.78, chi 1: go on". Other controllers' terms are shown by name after the decision, since there can be many.
function inWords(decision, reason) {
  const { terms } = decision;
  const names = "chi" in terms ? ["theta", "chi"] : Object.keys(terms);
  const value = (term) => (Number.isInteger(term) || typeof term !== "number" ? String(term) : number(term));
  const said = names
    .filter((name) => name in terms)
    .map((name) => `${name} ${value(terms[name])}`)
    .join(", ");
  const parts = [said, decided(decision, reason)].filter(Boolean);
  return ("chi" in terms ? parts : parts.reverse()).join(": ");
}

function noteFor(posterior) {
  if (!posterior || isBeta(posterior)) return "";
  return posterior.controller === "fixed" ? words.fixed(posterior.length) : words.none(posterior.controller);
}

export class Why {
  constructor(view) {
    this.name = "why";
    this.chart = new Chart("why", figure, view.link);
    this.charts = [this.chart];
    this.note = el("p", { class: "e-note" });
    this.headline = el("p", { class: "e-headline" });
    this.list = el("ol", { class: "e-decisions", "aria-label": words.decisions });
    this.contexts = swatch("context", words.others);
    this.node = this.chart.panel(words.title, swatch("line", words.belief), swatch("dotted", words.after), this.contexts);
    this.node.append(this.note, this.headline, this.list);
  }

  draw(state) {
    const round = state.lanes.eesd.drafting;
    const note = noteFor(round?.posterior);
    this.contexts.hidden = !round?.posterior.arms?.length;
    this.node.classList.toggle("e-no-curve", Boolean(note));
    setText(this.note, note);
    setText(this.headline, round ? words.headline(round.number, draftsIn(round), reasonOf(round)) : "");
    const lines = (round?.decisions ?? []).map((decision) => inWords(decision, round.stop));
    while (this.list.children.length > lines.length) this.list.lastChild.remove();
    this.list.classList.toggle("e-long", lines.some(({ length }) => length > SHORT));
    lines.forEach((line, i) => setText(this.list.children[i] ?? this.list.appendChild(el("li")), line));
  }

  // Scrolls to the last decision, with which the round ended.
  settle() {
    this.list.scrollTop = this.list.scrollHeight;
  }
}
