// One tooltip for all tokens of a view: what is known about the token under the pointer or the keyboard.
(() => {
  "use strict";
  const { el, number, words: { tip: words } } = window.EESD;

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

  class Tooltip {
    constructor(id) {
      Object.assign(this, { node: null, token: null });
      this.box = el("div", { class: "e-tip", role: "tooltip", id, hidden: "" });
    }

    show(node, token) {
      this.hide();
      Object.assign(this, { node, token });
      node.setAttribute("aria-describedby", this.box.id);
      const list = el("dl");
      for (const [name, value] of rows(token)) {
        if (value !== "–") list.append(el("dt", {}, name), el("dd", {}, value));
      }
      this.box.replaceChildren(el("div", { class: "e-tip-text" }, JSON.stringify(token.text)), list);
      this.place();
    }

    hide() {
      this.node?.removeAttribute("aria-describedby");
      Object.assign(this, { node: null, token: null });
      this.box.hidden = true;
    }

    // Beside its token, inside the view; out of sight when the token has scrolled away.
    place() {
      if (!this.node) return;
      const at = [...this.node.getClientRects()].pop();
      const lane = this.node.parentElement.getBoundingClientRect();
      this.box.hidden = !at || at.bottom < lane.top || at.top > lane.bottom;
      if (this.box.hidden) return;
      const view = this.box.parentElement.getBoundingClientRect();
      const left = Math.min(at.left - view.left, view.width - this.box.offsetWidth - 4);
      const below = at.bottom + 6 + this.box.offsetHeight < window.innerHeight;
      const top = below ? at.bottom + 6 : Math.max(0, at.top - 6 - this.box.offsetHeight);
      Object.assign(this.box.style, { left: `${Math.max(4, left)}px`, top: `${top - view.top}px` });
    }
  }

  window.EESD.Tooltip = Tooltip;
})();
