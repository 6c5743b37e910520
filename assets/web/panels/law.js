// The speedup law with this run on it: the speedup of a fixed draft length for an acceptance rate and a draft cost set by sliders.
import { NO_MORE } from "../lib/axes.js";
import { Chart } from "../lib/chart.js";
import { button, el, setText } from "../lib/elements.js";
import { number, sum } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.charts.law;
const MOST_DRAFTS = 15;
const OTHERS = [0.3, 0.5, 0.7, 0.9]; // acceptance rates drawn faintly, for comparison

// The law's inputs, from the run so far; null until a draft was tested. Times are in seconds, means over this run. The shape of T_v is the one
// measured when the run began, scaled to the run's verify passes.
export function measure(state) {
  const { eesd, vanilla } = state.lanes;
  const rounds = eesd.done;
  const tested = sum(rounds, ({ outcome }) => outcome.tested);
  if (!tested || eesd.foreign) return null; // another program does not report the times of its parts
  const lasting = ({ start, end }) => end - start;
  const verifying = sum(rounds, ({ outcome }) => outcome.verify_seconds);
  const drafting = sum(rounds, ({ outcome }) => outcome.draft_seconds);
  const shape = eesd.costs?.verify ?? [1];
  const shapeOf = (drafts) => shape[Math.min(drafts, shape.length - 1)];
  const scale = verifying / sum(rounds, ({ outcome }) => shapeOf(outcome.drafted));
  const overhead = Math.max(0, sum(rounds, lasting) - verifying - drafting) / rounds.length;
  const draft = drafting / eesd.drafted;
  const steps = vanilla.done; // excludes the step under way: it is on the clock already but has written nothing yet
  const plain = steps.length ? sum(steps, lasting) / steps.length : scale * shapeOf(0) + overhead;
  const verify = (k) => scale * shapeOf(k);
  const here = { length: eesd.drafted / rounds.length, speedup: state.speedup };
  return { alpha: eesd.accepted / tested, cost: draft / plain, plain, overhead, verify, ...here };
}

function speedupAt({ plain, overhead, verify }, alpha, cost, k) {
  let tokens = 1;
  for (let i = 1; i <= k; i += 1) tokens += alpha ** i;
  return k ? (tokens * plain) / (k * cost * plain + verify(k) + overhead) : 1; // k = 0 is vanilla decoding
}

const curve = (run, alpha, cost) => Array.from({ length: MOST_DRAFTS + 1 }, (_, k) => speedupAt(run, alpha, cost, k));

export class Law {
  constructor(view) {
    this.name = "law";
    this.view = view;
    this.moved = {}; // values of the sliders that were moved
    this.chart = new Chart("law", (...given) => this.figure(...given));
    this.charts = [this.chart];
    this.sliders = { alpha: this.slider("alpha", 0.99), cost: this.slider("cost", 1) };
    this.says = el("p", { class: "e-law-says", role: "status" });
    this.node = this.chart.panel(words.title);
    const sliders = Object.values(this.sliders).map(({ node }) => node);
    const controls = el(
      "div",
      { class: "e-law-controls" },
      ...sliders,
      button(words.measured, () => this.move({})),
    );
    const line = (text) => el("p", { class: "e-hint-line" }, text);
    const text = el("div", { class: "e-law-text" }, line(words.intro), controls, this.says, el("p", { class: "e-formula" }, words.formula), line(words.terms));
    const body = el("div", { class: "e-law-body" });
    this.chart.frame.before(body);
    body.append(this.chart.frame, text);
  }

  slider(name, most) {
    const input = el("input", { type: "range", min: "0", max: String(most), step: "0.01", class: "e-range" });
    const value = el("output", {}, "–");
    input.addEventListener("input", () => this.move({ ...this.moved, [name]: Number(input.value) }));
    return { input, value, node: el("label", {}, el("span", {}, words[name]), input, value) };
  }

  move(moved) {
    this.moved = moved;
    this.view.drawChart(this.chart);
  }

  get best() {
    return this.values ? this.values.indexOf(Math.max(...this.values)) : null;
  }

  figure(state, theme) {
    const run = measure(state);
    const empty = {
      data: [],
      layout: { margin: { l: 40, r: 44, t: 6, b: 32 } },
      xaxis: { title: words.axis, range: [-0.5, MOST_DRAFTS + 0.5], dtick: 1, tickformat: "d", showgrid: false },
      yaxis: { title: words.speedup, range: [0, 2], nticks: 6 },
      label: words.noRun,
      table: () => ({ columns: words.columns, rows: [] }),
    };
    this.values = null;
    if (!run) return this.say(words.noRun, empty);
    const { alpha, cost } = { ...run, ...this.moved };
    this.show("alpha", alpha);
    this.show("cost", cost);
    this.values = curve(run, alpha, cost);
    const best = this.best;
    const text = `${words.best(best, this.values[best])} ${words.run(run.length, run.speedup)}`;
    const top = Math.max(1.3, run.speedup || 0, ...this.values, ...OTHERS.flatMap((other) => curve(run, other, cost)));
    return this.say(text, {
      ...empty,
      data: [
        ...OTHERS.map((other) => this.line(run, other, cost, theme)),
        this.even(theme),
        this.chosen(theme),
        this.bestDot(best, theme),
        this.dot(run, theme),
      ],
      yaxis: { ...empty.yaxis, range: [0, 1.05 * top] },
      layout: { ...empty.layout, annotations: this.notes(run, cost, theme, top) },
      label: words.label(alpha, cost, text),
      table: () => ({ columns: words.columns, rows: this.values.map((value, k) => [k, number(value)]) }),
    });
  }

  say(text, figure) {
    setText(this.says, text);
    return figure;
  }

  show(name, value) {
    const { input, value: output } = this.sliders[name];
    if (document.activeElement !== input || !(name in this.moved)) input.value = String(value);
    setText(output, number(value));
  }

  line(run, alpha, cost, theme) {
    const y = curve(run, alpha, cost);
    const hovertemplate = `${words.curve(alpha)}, ${words.hover}${NO_MORE}`;
    return { type: "scatter", mode: "lines", x: y.map((_, k) => k), y, line: { color: theme("untested"), width: 1 }, opacity: 0.6, hovertemplate };
  }

  even(theme) {
    const line = { color: theme("ink"), width: 1, dash: "dash" };
    return { type: "scatter", mode: "lines", x: [-0.5, MOST_DRAFTS + 0.5], y: [1, 1], line, hoverinfo: "skip" };
  }

  chosen(theme) {
    const { values } = this;
    const look = { line: { color: theme("accepted"), width: 2 }, marker: { size: 4 } };
    return { type: "scatter", mode: "lines+markers", x: values.map((_, k) => k), y: values, ...look, hovertemplate: words.hover + NO_MORE };
  }

  bestDot(best, theme) {
    const marker = { symbol: "circle-open", size: 13, color: theme("accepted"), line: { width: 2 } };
    return { type: "scatter", mode: "markers", x: [best], y: [this.values[best]], marker, hoverinfo: "skip" };
  }

  dot(run, theme) {
    const known = Number.isFinite(run.speedup);
    return {
      type: "scatter",
      mode: "markers",
      x: known ? [run.length] : [],
      y: known ? [run.speedup] : [],
      marker: { symbol: "star", size: 14, color: theme("bonus"), line: { color: theme("ink"), width: 1 } },
      hovertemplate: words.hereHover + NO_MORE,
    };
  }

  notes(run, cost, theme, top) {
    const muted = { color: theme("muted"), size: 11 * theme.scale };
    const note = (x, y, text, more) => ({ x, y, text, showarrow: false, font: muted, ...more });
    const end = (alpha) => speedupAt(run, alpha, cost, MOST_DRAFTS);
    const apart = OTHERS.filter((alpha, i) => i === 0 || end(alpha) - end(OTHERS[i - 1]) > 0.1 * top); // labels must not overlap
    const ends = apart.map((alpha) => note(MOST_DRAFTS + 0.5, end(alpha), words.curve(alpha), { xanchor: "left", yanchor: "middle" }));
    const beside = { xanchor: "left", yanchor: "top", xshift: 6, yshift: -2, font: { color: theme("ink"), size: 12 * theme.scale } };
    const here = Number.isFinite(run.speedup) ? [note(run.length, run.speedup, words.here, beside)] : [];
    const even = note(0.6 * MOST_DRAFTS, 1, words.even, { xanchor: "center", yanchor: "top" });
    return [even, ...ends, ...here];
  }
}
