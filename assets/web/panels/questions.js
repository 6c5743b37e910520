// The three questions of the first screen, each with the run's answer so far and a link to the panel that explains it.
import { button, el, setText } from "../lib/elements.js";
import { verdictOf } from "../lib/status.js";
import { say } from "../lib/words.js";
import { draftsIn } from "./why.js";

const words = say.questions;

const answerOf = (round) => (round?.decisions.length ? words.round(round.number, draftsIn(round)) : ""); // not "0 drafts": they may still come

const ANSWERS = {
  faster: ({ speedup, lanes }) => (Number.isFinite(speedup) && lanes.vanilla.written ? words.times(speedup) : ""),
  same: (state) => (state.result?.identical ? words.identical(state.lanes.eesd.written) : verdictOf(state) || (state.started ? words.comparing : "")),
  why: ({ lanes }) => answerOf(lanes.eesd.drafting),
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
    return button(text, () => this.view.visit(this.view.panels[PANELS[name]]), `e-question e-ask-${name}`, { title: words.hint });
  }

  draw(state) {
    this.node.hidden = this.view.stage.hidden;
    for (const [name, answer] of Object.entries(ANSWERS)) setText(this.answers[name], answer(state));
  }
}
