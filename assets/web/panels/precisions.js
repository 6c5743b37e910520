// A race of several precisions: the same request plainly and with drafts in each, and what rows of a pass cost there.
import { el, setText, tableHead } from "../lib/elements.js";
import { soon } from "../lib/frames.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";
import { Row } from "./methods.js";
import { Study } from "./study.js";

const words = say.precisions;
const METHODS = ["vanilla", "eesd"];

export class Precisions {
  // `offered`: precisions that the server has on this machine.
  constructor({ path, form, offered }) {
    this.offered = offered;
    const asked = () => ({ ...form(), quantize: "", precisions: offered });
    this.study = new Study({ name: "precisions", words, path, form: asked, see: (line) => this.see(line) });
    this.name = "precisions";
    this.lanes = el("div", { class: "m-lanes" });
    this.table = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title, hidden: "" });
    this.lessons = el("ul", { class: "e-hint-line" });
    this.node = this.study.node;
    this.node.append(this.lanes, this.table, this.lessons);
  }

  see(line) {
    if (line.type === "loading") return this.study.say(words.loading(words.names[line.precision]));
    if (line.type === "table") return this.finish(line.rows);
    if (line.type === "run_started" && line.lane === `${this.offered[0]} vanilla`) this.begin();
    const row = this.rows?.get(line.lane);
    if (!row) return;
    row.lane.apply(line);
    if (this.waiting) return;
    this.waiting = true;
    soon(() => this.drawLanes());
  }

  begin() {
    const lanes = this.offered.flatMap((name) => METHODS.map((method) => [name, method]));
    const title = ([name, method]) => `${words.names[name]}, ${words.methods[method]}`;
    this.rows = new Map(lanes.map((lane) => [lane.join(" "), new Row(lane.join(" "), title(lane), lane[1] === "vanilla")]));
    this.lanes.replaceChildren(...[...this.rows.values()].map(({ node }) => node));
    this.table.hidden = true;
    this.lessons.replaceChildren();
    this.study.say(words.running);
  }

  drawLanes() {
    this.waiting = false;
    const most = Math.max(...[...this.rows.values()].map(({ lane }) => lane.clock));
    for (const row of this.rows.values()) row.draw(most);
  }

  finish(rows) {
    const priced = Object.keys(rows[0].prices);
    const lines = rows.map((row) => {
      const accepted = row.acceptance_rate === null ? "–" : `${number(100 * row.acceptance_rate, 0)} %`;
      const facts = [number(row.vanilla, 0), number(row.eesd, 0), `${number(row.speedup)}x`, accepted, words.texts(row)];
      const cells = [...facts, ...priced.map((count) => number(row.prices[count]))];
      return el("tr", {}, el("th", { scope: "row" }, words.names[row.name]), ...cells.map((text) => el("td", {}, text)));
    });
    const columns = [...words.columns, ...priced.map((count) => words.rows(count))];
    this.table.replaceChildren(el("table", { class: "w-table" }, tableHead(columns), el("tbody", {}, ...lines)));
    this.table.hidden = false;
    this.lessons.replaceChildren(...rows.map((row) => el("li", {}, words.lesson(words.names[row.name], row.prices[4], row.speedup))));
    this.study.say(words.finished);
  }
}
