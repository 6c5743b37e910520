// The finished live runs of this visit, one row each, newest first, to compare how precision, controller or temperature change acceptance, speed
// and exactness.
import { el, panelHead, tableHead } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { RaceState } from "../lib/race_state.js";
import { say } from "../lib/words.js";

const words = say.runs;

const MOST = 12;

export class Runs {
  constructor(view) {
    Object.assign(this, { name: "runs", view, seen: new Set(), body: el("tbody") });
    const table = el("table", { class: "w-table" }, tableHead(words.columns), this.body);
    const scroll = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title }, table);
    const head = panelHead(words.title, el("span", { class: "w-note" }, words.note));
    this.node = el("section", { class: "e-panel w-panel", "aria-label": words.title, hidden: "" }, head, scroll);
  }

  draw() {
    const { view, seen } = this;
    const { records, notes } = view.player.timeline;
    if (view.recording || !notes.some(({ type }) => type === "race_finished")) return;
    const started = records.find(({ type }) => type === "run_started");
    if (seen.has(started.run)) return;
    seen.add(started.run);
    this.node.hidden = false;
    const whole = new RaceState(); // the view's own state is that of the playhead
    for (const record of records) whole.apply(record);
    this.body.prepend(this.row(started, whole));
    if (this.body.children.length > MOST) this.body.lastChild.remove();
  }

  row({ dtype }, { lanes: { eesd, vanilla }, speedup, result }) {
    const { controller, temperature, drafter } = eesd.settings;
    const rule = controller.controller + (drafter.startsWith("disturbed") ? ` (${drafter})` : "");
    const share = `${number((100 * eesd.accepted) / eesd.drafted, 0)} %`;
    const speeds = [number(eesd.rate, 0), number(vanilla.rate, 0), `${number(speedup)}x`];
    const values = [rule, String(temperature), share, number(eesd.meanAcceptedLength), ...speeds, words.levels[result.level] ?? result.level];
    return el("tr", {}, el("th", { scope: "row" }, dtype), ...values.map((value) => el("td", {}, value)));
  }
}
