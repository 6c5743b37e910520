// The text of a lane: one element per token, only ever appended; later judgements change classes, not places.
(() => {
  "use strict";
  const { el } = window.EESD;
  const END_OF_TEXT = new Set(["<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "</s>", "<eos>"]);
  const NEAR_END = 32; // pixels from the end that still count as reading along

  const chipOf = (text) => {
    if (END_OF_TEXT.has(text)) return "end of text";
    return window.EESD.isSpecial(text) ? text.replace(/[<>|/]/g, "").replaceAll("_", " ") : null;
  };

  // The mark goes on the letters; space around them stays unmarked, so that lines break without stubs.
  function dress(node, token) {
    const chip = chipOf(token.text);
    const text = chip ?? token.text;
    const newline = !text.trim() && text.includes("\n");
    const letters = newline ? "" : text.trim() || text;
    const at = text.indexOf(letters);
    node.className = `e-tok e-${token.state}${chip ? " e-chip" : ""}${newline ? " e-newline" : ""}`;
    node.replaceChildren(text.slice(0, at), el("span", { class: "e-mark" }, letters), text.slice(at + letters.length));
    return node;
  }

  class LaneText {
    constructor(tip, label) {
      this.tip = tip;
      this.box = el("div", { class: "e-text", role: "group", "aria-label": `${label}: text. Arrow keys move from token to token.` });
      this.listen();
      this.reset();
    }

    reset() {
      this.prompt = el("span", { class: "e-prompt" });
      this.box.replaceChildren(this.prompt);
      this.nodes = [];
      this.numbers = new Map(); // element -> place among the tokens
      this.tokens = [];
      this.stop = null; // the one element that Tab reaches
      this.following = true;
    }

    draw(lane) {
      this.tokens = lane.tokens;
      window.EESD.setText(this.prompt, lane.prompt);
      const before = this.nodes.length;
      const fresh = document.createDocumentFragment();
      for (const token of lane.tokens.slice(before)) fresh.append(this.append(token));
      this.box.append(fresh);
      for (const token of lane.changed) this.redress(token, before);
      lane.changed.clear();
      if (this.following) this.toEnd();
      this.tip.place();
    }

    append(token) {
      const node = dress(el("span", { tabindex: "-1" }), token);
      this.numbers.set(node, this.nodes.length);
      token.place = this.nodes.length;
      this.nodes.push(node);
      if (!this.stop) this.setStop(node);
      return node;
    }

    redress(token, before) {
      if (token.place >= before) return; // appended just now, in its newest state
      const node = this.nodes[token.place];
      dress(node, token);
      if (this.tip.node === node) this.tip.show(node, token);
    }

    toEnd() {
      this.box.scrollTop = this.box.scrollHeight;
    }

    setStop(node) {
      this.stop?.setAttribute("tabindex", "-1");
      node.setAttribute("tabindex", "0");
      this.stop = node;
    }

    listen() {
      const { box, tip } = this;
      const show = (node) => this.numbers.has(node) && tip.show(node, this.tokens[this.numbers.get(node)]);
      box.addEventListener("pointerover", (event) => show(event.target.closest(".e-tok")));
      box.addEventListener("pointerleave", () => tip.hide());
      box.addEventListener("focusout", () => tip.hide());
      box.addEventListener("focusin", (event) => {
        if (this.numbers.has(event.target)) this.setStop(event.target);
        show(event.target);
      });
      box.addEventListener("keydown", (event) => this.key(event));
      box.addEventListener("scroll", () => {
        this.following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
        tip.place();
      });
    }

    // Left and right by token, up and down by round.
    key(event) {
      const here = this.numbers.get(event.target);
      if (here === undefined) return;
      if (event.key === "Escape" && this.tip.node) {
        event.preventDefault(); // taken: on the page, Escape also stops a run
        return this.tip.hide();
      }
      const target = {
        ArrowRight: () => this.visible(here + 1, 1),
        ArrowLeft: () => this.visible(here - 1, -1),
        ArrowDown: () => this.visible(this.tokens.findIndex((token) => token.round > this.tokens[here].round), 1),
        ArrowUp: () => this.visible(this.tokens.findIndex((token) => token.round >= this.tokens[here].round - 1), 1),
        Home: () => this.visible(0, 1),
        End: () => this.visible(this.nodes.length - 1, -1),
      }[event.key];
      if (!target) return;
      event.preventDefault();
      target()?.focus();
    }

    visible(from, step) {
      let place = from;
      while (this.nodes[place] && !this.nodes[place].getClientRects().length) place += step;
      return this.nodes[place];
    }
  }

  Object.assign(window.EESD, { LaneText, dress });
})();
