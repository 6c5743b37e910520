// Glossary, formulas and papers, in one dialog.
(() => {
  "use strict";
  const { el, words: { glossary: words } } = window.EESD;

  function glossary() {
    const close = el("button", { type: "button", class: "e-button" }, words.close);
    const entry = ([term, meaning]) => el("div", {}, el("dt", {}, term), el("dd", {}, meaning));
    const formula = ([text, meaning]) => el("div", { class: "e-equation" }, el("dt", {}, text), el("dd", {}, meaning));
    const link = ([title, href]) => el("li", {}, el("a", { href, target: "_blank", rel: "noopener" }, title));
    const dialog = el("dialog", { class: "e-dialog e-glossary", "aria-label": words.title },
      el("div", { class: "e-dialog-head" }, el("h2", {}, words.title), close),
      el("h3", {}, words.terms), el("dl", {}, ...words.list.map(entry)),
      el("h3", {}, words.formulas), el("dl", {}, ...words.equations.map(formula)),
      el("h3", {}, words.papers), el("ul", {}, ...words.links.map(link)));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it and nothing else
    return dialog;
  }

  window.EESD.glossary = glossary;
})();
