// A sandbox for Thompson sampling: controllers on a made-up text whose true acceptance rate is set here. No model, no server.
import { Chart, swatch } from "../lib/chart.js";
import { button, el, panelHead, setText, tableHead } from "../lib/elements.js";
import { wantsLessMotion } from "../lib/frames.js";
import { TOKENS, Trial } from "../lib/made_up.js";
import { number } from "../lib/numbers.js";
import { Pace } from "../lib/pace.js";
import { plotly } from "../lib/plotly.js";
import { say } from "../lib/words.js";
import { FIGURES } from "./sandbox_charts.js";

const words = say.sandbox;
const USUAL = { kind: "constant", rate: 0.8, fall: 0.85, other: 0.3, cost: 0.1, alpha: 1, beta: 1, forget: 1, draw: "token", length: 4, seed: 1 };
const SLIDERS = {
  rate: [0.05, 0.98, 0.01],
  fall: [0.5, 0.99, 0.01],
  other: [0.05, 0.98, 0.01],
  cost: [0.01, 1, 0.01],
  alpha: [0.5, 50, 0.5],
  beta: [0.5, 50, 0.5],
  forget: [0.9, 1, 0.002],
  length: [0, 15, 1],
};
const TRIES = {
  switches: { kind: "switching", rate: 0.9 },
  prior: { rate: 0.4, alpha: 50 },
  dear: { rate: 0.5, cost: 0.7 },
  stale: { kind: "falling", rate: 0.95, fall: 0.7 },
};
const OF = { fall: "falling", other: "switching" }; // sliders that belong to one kind of text
const BUDGET = 6; // milliseconds of work per frame
const SPEED = 400; // tokens a second: with four controllers about 500 rounds
const BATCH = 1000; // tokens at a time if the visitor wants less motion

const whole = (value) => String(Math.round(value) || 0).replace("-", "\u2212");
const line = (name) => el("i", { class: `b-line b-line-${name}`, "aria-hidden": "true" });
const sign = (name, text) => el("span", {}, line(name), text);

export class Sandbox {
  constructor(view) {
    this.name = "sandbox";
    this.settings = USUAL;
    this.goal = TOKENS; // tokens to write; all of them at first, so that there is something to see
    this.plots = Object.entries(FIGURES).map(([name, figure]) => new Chart(`sandbox-${name}`, figure));
    this.pace = new Pace(
      this.plots.map((chart) => () => this.drawChart(chart)),
      () => false,
      () => false,
    );
    for (const chart of this.plots) chart.onVisible = () => this.pace.request();
    this.build();
    this.show();
    this.follow(view);
  }

  // ---- what is on the page ----

  build() {
    this.startButton = button(words.start, () => this.start(), "b-start");
    this.progress = el("span", { class: "b-progress" });
    this.seed = el("span", { class: "b-seed" });
    const another = button(words.another, () => this.change({ seed: this.settings.seed + 1 }));
    const bar = el("div", { class: "b-bar" }, this.startButton, button(words.reset, () => this.reset()), another, this.seed, this.progress);
    this.inputs = {};
    const group = (title, ...controls) => el("fieldset", {}, el("legend", {}, title), ...controls);
    const controls = el(
      "div",
      { class: "b-controls" },
      group(words.text, this.choice("kind", words.kinds), ...["rate", "fall", "other", "cost"].map((name) => this.slider(name))),
      group(words.rules, ...["alpha", "beta", "forget", "length"].map((name) => this.slider(name)), this.choice("draw", words.draws)),
    );
    this.says = el("p", { class: "b-says", role: "status" });
    const charts = this.plots.map((chart, i) => chart.panel(words[Object.keys(FIGURES)[i]].title, ...this.keyOf(i)));
    this.node = el(
      "section",
      { class: "e-panel b-panel", "aria-label": words.title },
      panelHead(words.title, bar),
      el("p", { class: "b-lead" }, words.lead),
      el("p", { class: "e-hint-line" }, words.note),
      el("div", { class: "b-top" }, controls, el("div", {}, this.says, this.table(), this.tries())),
      el("div", { class: "b-charts" }, ...charts),
    );
  }

  keyOf(i) {
    const own = {
      course: [swatch("line", words.course.mean), swatch("ribbon", words.course.interval)],
      now: [sign("prior", words.prior), sign("best", words.true)],
      lengths: [sign("best", words.bestFixed)],
    };
    return own[Object.keys(FIGURES)[i]] ?? [];
  }

  slider(name) {
    const [min, max, step] = SLIDERS[name];
    const hint = words.hints[name];
    const input = el("input", { type: "range", class: "e-range", min, max, step, "aria-label": words[name], ...(hint ? { title: hint } : {}) });
    const value = el("output");
    input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    const node = el("label", { class: `b-${name}` }, el("span", {}, words[name]), input, value);
    this.inputs[name] = { input, value, node };
    return node;
  }

  choice(name, options) {
    const choices = Object.entries(options).map(([value, text]) => el("option", { value }, text));
    const input = el("select", { class: "e-select", "aria-label": words[name] }, ...choices);
    input.addEventListener("change", () => this.change({ [name]: input.value }));
    const node = el("label", { class: `b-${name}` }, el("span", {}, words[name]), input);
    this.inputs[name] = { input, node };
    return node;
  }

  table() {
    const row = (name, text = name) => {
      const cells = words.columns.slice(1).map(() => el("td"));
      const title = el("span", {}, text);
      this.rows[name] = { title, cells };
      return el("tr", {}, el("th", { scope: "row" }, line(name), title), ...cells);
    };
    this.rows = {};
    const body = el("tbody", {}, ...["beta", "throughput", "ucb", "fixed"].map((name) => row(name)), row("best", words.bestFixed));
    const table = el("table", {}, tableHead(words.columns), body);
    return el("div", { class: "b-table", tabindex: "0", role: "group", "aria-label": words.title }, table);
  }

  // Interesting settings, each with a question to look at.
  tries() {
    this.question = el("p", { class: "b-question", "aria-live": "polite" });
    const buttons = Object.entries(TRIES).map(([name, values]) => button(words.tries[name][0], () => this.try(values, words.tries[name][1])));
    return el("div", { class: "b-tries", role: "group", "aria-label": words.try }, el("span", {}, words.try), ...buttons, this.question);
  }

  // ---- what the visitor does ----

  start() {
    if (this.running) return this.halt();
    if (this.goal >= TOKENS) this.again();
    if (wantsLessMotion()) this.goal += BATCH;
    else this.running = true;
    this.show();
    this.request();
  }

  halt() {
    this.running = false;
    this.show();
    this.request();
  }

  again() {
    this.goal = 0;
    this.trial = null;
  }

  reset() {
    this.try({}, "");
  }

  try(values, question) {
    this.running = false;
    this.goal = TOKENS;
    setText(this.question, question);
    this.change({ ...USUAL, ...values });
  }

  // New settings apply from the first token on: as much of the text is written again under the new conditions.
  change(values) {
    this.settings = { ...this.settings, ...values };
    this.show();
    this.request();
  }

  // ---- how it goes on ----

  follow(view) {
    const watch = (entries) => {
      this.seen = entries.at(-1).isIntersecting;
      if (this.seen) this.request();
    };
    new IntersectionObserver(watch, { rootMargin: "100px" }).observe(this.node);
    new ResizeObserver(() => this.pace.request()).observe(this.node);
    view.pace.works.push(() => this.lookAround()); // called often, so it notices a new theme and the arrival of plotly.js
  }

  lookAround() {
    const now = `${document.body.className} ${Boolean(plotly.library)}`;
    if (now !== this.around) this.pace.request();
    this.around = now;
    return false;
  }

  request() {
    if (this.waiting || !this.seen) return;
    this.waiting = true;
    requestAnimationFrame((time) => this.frame(time));
  }

  frame(time) {
    this.waiting = false;
    const passed = Math.min(100, time - (this.time ?? time));
    this.time = this.running ? time : null;
    if (this.running) this.goal = Math.min(TOKENS, this.goal + (SPEED * passed) / 1000);
    if (this.goal >= TOKENS) this.running = false;
    const isDone = this.advance();
    if (isDone) this.fill();
    if (this.running || !isDone) this.request();
  }

  // A trial under way is finished before one with newer settings begins; otherwise nothing would be drawn while a slider is dragged.
  advance() {
    this.trial ??= new Trial(this.settings);
    const isDone = this.trial.advance(this.goal, BUDGET);
    if (!isDone || this.trial.settings === this.settings) return isDone;
    if (this.trial !== this.shown) this.fill();
    this.trial = new Trial(this.settings);
    return this.trial.advance(this.goal, BUDGET);
  }

  // ---- what is shown ----

  show() {
    const { settings } = this;
    setText(this.startButton, this.running ? words.stop : wantsLessMotion() ? words.batch : words.start);
    setText(this.seed, words.seed(settings.seed));
    for (const [name, { input, value, node }] of Object.entries(this.inputs)) {
      if (input.value !== String(settings[name])) input.value = String(settings[name]);
      if (value) setText(value, name === "forget" ? words.remembers(settings[name]) : String(settings[name]));
      if (value) input.setAttribute("aria-valuetext", value.textContent);
      if (OF[name]) node.hidden = OF[name] !== settings.kind;
    }
  }

  fill() {
    const { trial } = this;
    const best = trial.ladder[trial.best];
    this.shown = trial; // charts are drawn later, and only of a trial that has caught up
    setText(this.rows.best.title, words.best(trial.best));
    for (const [name, lane] of Object.entries({ ...trial.lanes, best })) {
      const regret = trial.regret(lane).at(-1);
      const values = [number(lane.place / lane.cost), whole(regret), number(lane.meanLength, 1), number(lane.meanAccepted)];
      this.rows[name].cells.forEach((cell, i) => setText(cell, values[i]));
    }
    setText(this.progress, words.progress(Math.floor(trial.reached), TOKENS));
    if (this.running) setText(this.says, words.running);
    else this.conclude(best);
    this.pace.request();
  }

  // Set only once the text stands still, because screen readers read it out.
  conclude(best) {
    const { trial } = this;
    this.show();
    const regrets = Object.entries(trial.lanes).map(([name, lane]) => [name, trial.regret(lane).at(-1)]);
    setText(this.says, trial.reached ? words.says(Math.floor(trial.reached), trial.best, best.place / best.cost, regrets) : "");
  }

  drawChart(chart) {
    if (!chart.visible || !this.shown) return false;
    chart.draw(this.shown);
    return true;
  }
}
