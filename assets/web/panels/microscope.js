// The round microscope: one round in six steps, with its numbers. It shows the selected round, or the one at the playhead.
import { dress } from "../lib/dress.js";
import { button, el, panelHead, setText } from "../lib/elements.js";
import { explain } from "../lib/explain.js";
import { say } from "../lib/words.js";

const words = say.microscope;

const line = ({ token, text }) => el("li", {}, dress(el("span"), token), el("span", {}, text));

export class Microscope {
  constructor(view) {
    Object.assign(this, { name: "microscope", view, patient: true, drawn: "" });
    this.round = el("b", { class: "e-round" });
    this.why = el("p", { class: "e-why-words" });
    this.follow = button(words.follow, () => view.release(), "e-follow", { hidden: "" });
    const head = panelHead(words.title, this.round, this.follow, el("span", { class: "e-hint" }, words.pick));
    this.steps = words.steps.map((title, i) => {
      const body = el("div", { class: "e-step-body" });
      return { body, node: el("li", { class: "e-step" }, el("h3", {}, el("span", { class: "e-step-number" }, String(i + 1)), title), body) };
    });
    this.list = el("ol", { class: "e-steps" }, ...this.steps.map(({ node }) => node));
    this.node = el("section", { class: "e-panel e-microscope", "aria-label": words.title }, head, this.why, this.list);
  }

  reset() {
    this.drawn = "";
  }

  // At once, not when the charts have been drawn.
  look() {
    this.draw(this.view.run);
  }

  draw(state) {
    const lane = state.lanes.eesd;
    const round = this.view.selected ?? lane.round;
    this.follow.hidden = this.view.chosen === null;
    this.list.hidden = !round;
    setText(this.round, round ? words.round(round.number) : "");
    const version = `${round?.number} ${round === lane.round ? lane.applied : "over"}`;
    if (version === this.drawn) return;
    this.drawn = version;
    if (round) this.fill(explain(lane, round));
    else setText(this.why, words.empty);
  }

  fill({ why, steps }) {
    setText(this.why, why);
    const now = steps.findLastIndex(({ done }) => done);
    steps.forEach(({ done, note, formulas, rows }, i) => {
      const { node, body } = this.steps[i];
      node.classList.toggle("e-ahead", !done);
      if (i === now) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
      body.replaceChildren(
        el("p", { class: "e-step-note" }, note),
        ...(rows.length ? [el("ol", { class: "e-rows" }, ...rows.map(line))] : []),
        ...formulas.map((formula) => el("p", { class: "e-formula" }, formula)),
      );
    });
  }
}
