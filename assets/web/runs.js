// The finished live runs of this visit, a row each, the newest first: what another precision of the weights, controller or temperature did to
// acceptance, speed and exactness.
(() => {
  "use strict";
  const { el, number, words: { runs: words } } = window.EESD;
  const MOST = 12;

  class Runs {
    constructor(view) {
      Object.assign(this, { view, seen: new Set(), body: el("tbody") });
      const head = el("thead", {}, el("tr", {}, ...words.columns.map((name) => el("th", { scope: "col" }, name))));
      const table = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title }, el("table", { class: "w-table" }, head, this.body));
      const title = el("div", { class: "e-panel-head" }, el("h2", {}, words.title), el("span", { class: "w-note" }, words.note));
      this.node = el("section", { class: "e-panel w-panel", "aria-label": words.title, hidden: "" }, title, table);
    }

    draw() {
      const { view, seen } = this;
      const { records, notes } = view.player.timeline;
      if (view.recording || !notes.some(({ type }) => type === "race_finished")) return;
      const started = records.find(({ type }) => type === "run_started");
      if (seen.has(started.run)) return;
      seen.add(started.run);
      this.node.hidden = false;
      const whole = new window.EESD.RaceState(); // the view's own stands where the playhead is
      for (const record of records) whole.apply(record);
      this.body.prepend(this.row(started, whole));
      if (this.body.children.length > MOST) this.body.lastChild.remove();
    }

    row({ dtype }, { lanes: { eesd, vanilla }, speedup, result }) {
      const { controller, temperature, drafter } = eesd.settings;
      const rule = controller.controller + (drafter.startsWith("disturbed") ? ` (${drafter})` : "");
      const values = [rule, String(temperature), `${number((100 * eesd.accepted) / eesd.drafted, 0)} %`, number(eesd.meanAcceptedLength), number(eesd.rate, 0), number(vanilla.rate, 0), `${number(speedup)}x`, words.levels[result.level] ?? result.level];
      return el("tr", {}, el("th", { scope: "row" }, dtype), ...values.map((value) => el("td", {}, value)));
    }
  }

  window.EESD.Runs = Runs;
})();
