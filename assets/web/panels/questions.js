// The first screen as three questions, each with what the run in view says so far, and the way to the panel that answers it.
import { button, el, setText } from "../lib/elements.js";
import { verdictOf } from "../lib/status.js";
import { say } from "../lib/words.js";

const words = say.questions;

const ANSWERS = {
  faster: ({ speedup, lanes }) => (Number.isFinite(speedup) && lanes.vanilla.written ? words.times(speedup) : ""),
  same: (state) => (state.result?.identical ? words.identical(state.lanes.eesd.written) : verdictOf(state) || (state.started ? words.comparing : "")),
  why: ({ lanes: { eesd } }) => (eesd.round ? words.round(eesd.round.number, eesd.round.drafts.length) : ""),
};
const PANELS = { faster: "law", same: "lossless", why: "microscope" };

export class Questions {
  constructor(view) {
    Object.assign(this, { name: "questions", view, answers: {} });
    this.node = el("nav", { class: "e-questions", "aria-label": words.title }, ...Object.keys(ANSWERS).map((name) => this.question(name)));
  }

  question(name) {
    this.answers[name] = el("span", { class: "e-answer" });
    const text = el("span", {}, el("b", {}, words.ask[name]), " ", this.answers[name]);
    return button(text, () => this.go(name), `e-question e-ask-${name}`, { title: words.hint });
  }

  // To the panel; it gets the focus, so that it is seen and heard which one it is.
  go(name) {
    const { node } = this.view.panels[PANELS[name]];
    this.view.reveal(node);
    node.setAttribute("tabindex", "-1");
    node.focus({ preventScroll: true });
  }

  draw(state) {
    this.node.hidden = this.view.stage.hidden;
    for (const [name, answer] of Object.entries(ANSWERS)) setText(this.answers[name], answer(state));
  }
}
