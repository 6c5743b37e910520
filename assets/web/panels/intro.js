// Shown before the first run: what to expect, in three steps with an example each, and what every mark means.
import { betaCurve } from "../lib/beta.js";
import { dress } from "../lib/dress.js";
import { el, setText, svg } from "../lib/elements.js";
import { statusOf } from "../lib/status.js";
import { STATES } from "../lib/token.js";
import { say } from "../lib/words.js";

const words = say.intro;

const sample = (...tokens) =>
  el(
    "p",
    { class: "e-sample", "aria-hidden": "true" },
    ...tokens.map(([state, text]) => (state ? dress(el("span"), { state, text }) : el("span", { class: "e-prompt" }, text))),
  );

// A small Beta curve with one draw on it.
function curve() {
  const { x, y, at } = betaCurve({ alpha: 9, beta: 4 });
  const point = (u, v) => `${(4 + 152 * u).toFixed(1)},${(46 - 40 * v).toFixed(1)}`;
  const [left, top] = point(0.78, at(0.78)).split(",");
  const drawing = svg("svg", { class: "e-sample-curve", viewBox: "0 0 160 52", width: 160, height: 52, "aria-hidden": "true" });
  drawing.append(
    svg("polyline", { points: x.map((u, i) => point(u, y[i])).join(" ") }),
    svg("line", { x1: left, x2: left, y1: 46, y2: top }),
    svg("circle", { cx: left, cy: top, r: 4 }),
  );
  return drawing;
}

const step = ([title, text], ...example) => el("li", {}, el("b", {}, title), el("p", {}, text), ...example);

function steps() {
  const { start, right, wrong, correction, draw } = words.sample;
  const [draft, verify, learn] = words.steps;
  return el(
    "ol",
    {},
    step(draft, sample(["", start], ...[...right, wrong].map((text) => ["pending", text]))),
    step(verify, sample(["", start], ...right.map((text) => ["accepted", text]), ["rejected", wrong], ["correction", correction])),
    step(learn, el("div", { class: "e-sample-row" }, curve(), el("p", { class: "e-sample" }, draw))),
  );
}

const meanings = () =>
  el(
    "dl",
    { class: "e-meanings" },
    ...STATES.flatMap((state) => [el("div", {}, el("dt", {}, dress(el("span"), { state, text: say.states[state] })), el("dd", {}, words.meanings[state]))]),
  );

export class Intro {
  constructor(view) {
    this.name = "intro";
    this.view = view;
    this.line = el("p", { class: "e-intro-line", role: "status" });
    this.node = el("section", { class: "e-panel e-intro", "aria-label": words.title }, steps(), meanings(), this.line);
  }

  draw(state) {
    this.node.hidden = !this.view.stage.hidden;
    setText(this.line, statusOf(state) || words.invitation);
  }
}
