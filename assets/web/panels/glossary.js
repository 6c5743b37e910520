// Glossary, formulas and papers, in one dialog.
import { button, dialog, el } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.glossary;

const entry = ([term, meaning]) => el("div", {}, el("dt", {}, term), el("dd", {}, meaning));
const formula = ([text, meaning]) => el("div", { class: "e-equation" }, el("dt", {}, text), el("dd", {}, meaning));
const link = ([title, href]) => el("li", {}, el("a", { href, target: "_blank", rel: "noopener" }, title));

export class Glossary {
  constructor() {
    this.name = "glossary";
    const close = button(words.close, () => this.node.close());
    this.node = dialog(
      "e-dialog e-glossary",
      { "aria-label": words.title },
      el("div", { class: "e-dialog-head" }, el("h2", {}, words.title), close),
      el("h3", {}, words.terms),
      el("dl", {}, ...words.list.map(entry)),
      el("h3", {}, words.formulas),
      el("dl", {}, ...words.equations.map(formula)),
      el("h3", {}, words.papers),
      el("ul", {}, ...words.links.map(link)),
    );
  }

  open() {
    this.node.showModal();
  }
}
