// The round microscope: one round in six steps, with its numbers. It shows the selected round, or the one at the playhead.
(() => {
  "use strict";
  const { el, setText, words: { microscope: words } } = window.EESD;

  const line = ({ token, text }) => el("li", {}, window.EESD.dress(el("span"), token), el("span", {}, text));

  class Microscope {
    constructor(onSelect) {
      this.onSelect = onSelect;
      this.round = el("b", { class: "e-round" });
      this.why = el("p", { class: "e-why-words" });
      this.follow = el("button", { class: "e-button e-follow", type: "button", hidden: "" }, words.follow);
      this.follow.addEventListener("click", () => this.select(null));
      const head = el("div", { class: "e-panel-head" }, el("h2", {}, words.title), this.round, this.follow, el("span", { class: "e-hint" }, words.pick));
      this.steps = words.steps.map((title, i) => {
        const body = el("div", { class: "e-step-body" });
        return { body, node: el("li", { class: "e-step" }, el("h3", {}, el("span", { class: "e-step-number" }, String(i + 1)), title), body) };
      });
      this.list = el("ol", { class: "e-steps" }, ...this.steps.map(({ node }) => node));
      this.node = el("section", { class: "e-panel e-microscope", "aria-label": words.title }, head, this.why, this.list);
      this.reset();
    }

    reset() {
      Object.assign(this, { selected: null, drawn: "" });
      this.onSelect();
    }

    // By its number, as people count; null follows the playhead.
    select(number) {
      this.selected = number;
      this.onSelect();
    }

    roundOf(lane) {
      return lane.rounds[(this.selected ?? Infinity) - 1] ?? lane.round;
    }

    draw(lane) {
      const round = this.roundOf(lane);
      this.follow.hidden = this.selected === null;
      this.list.hidden = !round;
      setText(this.round, round ? words.round(round.number) : "");
      const version = `${round?.number} ${round === lane.round ? lane.applied : "over"}`;
      if (version === this.drawn) return;
      this.drawn = version;
      if (round) this.fill(window.EESD.explain(lane, round));
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
          ...formulas.map((formula) => el("p", { class: "e-formula" }, formula)));
      });
    }
  }

  window.EESD.Microscope = Microscope;
})();
