// What other draft lengths and controllers would have gained on the run on the page: a table, with the time lost as bars.
import { el, panelHead, tableHead } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";

const words = say.whatIf;
const REGRET = 3; // its column

export class WhatIf {
  constructor(view) {
    Object.assign(this, { name: "whatIf", view });
    this.body = el("tbody");
    const better = el("span", { class: "w-better" }, ` ${words.better}`); // beside tokens per second, long bars would look good
    const columns = words.columns.map((name, i) => (i === REGRET ? el("span", {}, name, better) : name));
    const table = el("table", { class: "w-table w-rules" }, tableHead(columns), this.body);
    const scroll = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title }, table);
    const head = panelHead(words.title, el("span", { class: "w-note" }, words.note));
    this.node = el("section", { class: "e-panel w-panel", "aria-label": words.title, hidden: "" }, head, scroll);
  }

  draw() {
    const record = this.view.player.timeline.records.findLast(({ type }) => type === "what_if");
    if (record === this.drawn) return;
    this.drawn = record;
    this.node.hidden = !record;
    if (record) this.fill(record.rows);
  }

  // Controllers keep their command-line names.
  label(name) {
    const [, best, length] = /^(best )?fixed: (\d+)$/.exec(name) ?? [];
    if (length) return best ? words.bestFixed(length) : words.fixed(length);
    const [, ruled] = /^siblings: ([a-z-]+)$/.exec(name) ?? [];
    if (ruled) return words.siblings(ruled);
    return Object.hasOwn(words.names, name) ? words.names[name] : name;
  }

  fill(rows) {
    const most = Math.max(...rows.map((row) => row.regret_oracle), 1e-9);
    const own = ({ name }) => (name === "this run" ? 0 : 1); // this run first, then by time lost
    const sorted = [...rows].sort((a, b) => own(a) - own(b) || a.regret_oracle - b.regret_oracle);
    this.body.replaceChildren(...sorted.map((row) => this.row(row, most)));
  }

  row({ name, speedup, tokens_per_second: speed, regret_oracle: regret, rounds, accepted }, most) {
    const bar = el("i", { class: "w-bar" });
    bar.style.width = `${Math.max(0, (100 * regret) / most)}%`;
    const lost = el("td", { class: "w-regret" }, el("span", { class: "w-lost" }, words.ms(regret)), el("span", { class: "w-track" }, bar));
    const label = el("th", { scope: "row" }, this.label(name));
    const cells = [`${number(speedup)}x`, number(speed, 0), lost, number(rounds, 0), number(accepted, 0)];
    const look = { "this run": "w-own", oracle: "w-best" }[name] ?? "";
    return el("tr", { class: look }, label, ...cells.map((cell) => (cell === lost ? cell : el("td", {}, cell))));
  }
}
