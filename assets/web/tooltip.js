// One tooltip for all tokens of a view: what is known about the token under the pointer or the keyboard.
(() => {
  "use strict";
  const { el, number } = window.EESD;
  const STATE_WORDS = {
    pending: "draft, not verified yet",
    accepted: "draft, accepted",
    rejected: "draft, rejected",
    untested: "draft, untested: came after a rejection",
    correction: "correction by the target",
    bonus: "bonus of the target",
    plain: "one plain decoding step",
  };

  const rows = (token) => [
    ["state", STATE_WORDS[token.state] ?? token.state],
    ["round", String(token.round)],
    ["position", String(token.position)],
    ["draft probability", number(token.draft, 3)],
    ["target probability", number(token.target, 3)],
    ["confidence", number(token.confidence, 3)],
    ["entropy", Number.isFinite(token.entropy) ? `${number(token.entropy)} nats` : "–"],
    ["margin", number(token.margin)],
  ];

  class Tooltip {
    constructor(root, id) {
      this.root = root;
      this.node = null;
      this.box = el("div", { class: "e-tip", role: "tooltip", id, hidden: "" });
      root.append(this.box);
    }

    show(node, token) {
      this.hide();
      this.node = node;
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
      this.node = null;
      this.box.hidden = true;
    }

    // Beside its token, inside the view; out of sight when the token has scrolled away.
    place() {
      if (!this.node) return;
      const at = [...this.node.getClientRects()].pop();
      const lane = this.node.parentElement.getBoundingClientRect();
      this.box.hidden = !at || at.bottom < lane.top || at.top > lane.bottom;
      if (this.box.hidden) return;
      const view = this.root.getBoundingClientRect();
      const left = Math.min(at.left - view.left, view.width - this.box.offsetWidth - 4);
      const below = at.bottom + 6 + this.box.offsetHeight < window.innerHeight;
      const top = below ? at.bottom + 6 : Math.max(0, at.top - 6 - this.box.offsetHeight);
      Object.assign(this.box.style, { left: `${Math.max(4, left)}px`, top: `${top - view.top}px` });
    }
  }

  window.EESD.Tooltip = Tooltip;
})();
