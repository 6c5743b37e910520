// One tooltip for all tokens of a view: the numbers of the token under the pointer or the keyboard focus.
import { el } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.tip;

const rows = (token) => [
  [words.state, words.states[token.state] ?? token.state],
  [words.round, String(token.round)],
  [words.position, String(token.position)],
  [words.draft, number(token.draft, 3)],
  [words.target, number(token.target, 3)],
  [words.confidence, number(token.confidence, 3)],
  [words.entropy, Number.isFinite(token.entropy) ? words.nats(token.entropy) : "–"],
  [words.margin, number(token.margin)],
];

let tips = 0;

export class Tooltip {
  constructor() {
    tips += 1;
    Object.assign(this, { name: "tip", target: null, token: null });
    this.node = el("div", { class: "e-tip", role: "tooltip", id: `eesd-tip-${tips}`, hidden: "" });
  }

  // `target`: the element of this token.
  show(target, token) {
    this.hide();
    Object.assign(this, { target, token });
    target.setAttribute("aria-describedby", this.node.id);
    const known = rows(token).filter(([, value]) => value !== "–");
    const list = el("dl", {}, ...known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    this.node.replaceChildren(el("div", { class: "e-tip-text" }, JSON.stringify(token.text)), list);
    this.place();
  }

  hide() {
    this.target?.removeAttribute("aria-describedby");
    Object.assign(this, { target: null, token: null });
    this.node.hidden = true;
  }

  reset() {
    this.hide();
  }

  // Places it beside its token, inside the view; hidden if the token has scrolled out of sight.
  place() {
    if (!this.target) return;
    const at = [...this.target.getClientRects()].pop();
    const lane = this.target.parentElement.getBoundingClientRect();
    this.node.hidden = !at || at.bottom < lane.top || at.top > lane.bottom;
    if (this.node.hidden) return;
    const view = this.node.parentElement.getBoundingClientRect();
    const left = Math.min(at.left - view.left, view.width - this.node.offsetWidth - 4);
    const below = at.bottom + 6 + this.node.offsetHeight < window.innerHeight;
    const top = below ? at.bottom + 6 : Math.max(0, at.top - 6 - this.node.offsetHeight);
    Object.assign(this.node.style, { left: `${Math.max(4, left)}px`, top: `${top - view.top}px` });
  }
}
