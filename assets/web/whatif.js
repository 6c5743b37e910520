// What other draft lengths and controllers would have made of the run that is on the page: a table, the time lost as bars.
(() => {
  "use strict";
  const { el, number, words: { whatIf: words } } = window.EESD;

  class WhatIf {
    constructor(view) {
      this.view = view;
      this.body = el("tbody");
      const head = el("thead", {}, el("tr", {}, ...words.columns.map((name) => el("th", { scope: "col" }, name))));
      const table = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title }, el("table", { class: "w-table" }, head, this.body));
      const title = el("div", { class: "e-panel-head" }, el("h2", {}, words.title), el("span", { class: "w-note" }, words.note));
      this.node = el("section", { class: "e-panel w-panel", "aria-label": words.title, hidden: "" }, title, table);
      this.follow();
    }

    // The view draws when something changed, and so does this.
    follow() {
      const draw = this.view.draw.bind(this.view);
      this.view.draw = () => {
        draw();
        this.draw();
      };
    }

    draw() {
      const record = this.view.player.timeline.records.findLast(({ type }) => type === "what_if");
      if (record === this.drawn) return;
      this.drawn = record;
      this.node.hidden = !record;
      if (record) this.fill(record.rows);
    }

    // Controllers keep their names, which are those of the command line.
    label(name) {
      const [, best, length] = /^(best )?fixed: (\d+)$/.exec(name) ?? [];
      if (length) return best ? words.bestFixed(length) : words.fixed(length);
      return Object.hasOwn(words.names, name) ? words.names[name] : name;
    }

    fill(rows) {
      const most = Math.max(...rows.map((row) => row.regret_oracle), 1e-9);
      const own = ({ name }) => (name === "this run" ? 0 : 1); // first, the others by what they would have lost
      const sorted = [...rows].sort((a, b) => own(a) - own(b) || a.regret_oracle - b.regret_oracle);
      this.body.replaceChildren(...sorted.map((row) => this.row(row, most)));
    }

    row({ name, speedup, tokens_per_second: speed, regret_oracle: regret, rounds, accepted }, most) {
      const bar = el("i", { class: "w-bar" });
      bar.style.width = `${Math.max(0, (100 * regret) / most)}%`;
      const lost = el("td", { class: "w-regret" }, el("span", { class: "w-track" }, bar), el("span", {}, words.ms(regret)));
      const label = el("th", { scope: "row" }, this.label(name));
      const cells = [`${number(speedup)}x`, number(speed, 0), lost, number(rounds, 0), number(accepted, 0)];
      return el("tr", { class: name === "this run" ? "w-own" : name === "oracle" ? "w-best" : "" }, label, ...cells.map((cell) => (cell === lost ? cell : el("td", {}, cell))));
    }
  }

  window.EESD.WhatIf = WhatIf;
})();
