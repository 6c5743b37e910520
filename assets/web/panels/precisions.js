// A race of several precisions: the same request in each, without and with drafts, and what the rows of a pass cost there.
import { el } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";
import { Lanes, percent } from "./lanes.js";
import { Study } from "./study.js";

const words = say.precisions;
const METHODS = ["vanilla", "eesd"];

export class Precisions {
  // `offered`: precisions available on the server.
  constructor({ path, form, offered }) {
    this.offered = offered;
    const asked = () => ({ ...form(), quantize: "", precisions: offered });
    this.study = new Study({ name: "precisions", words, path, form: asked, see: (line) => this.see(line) });
    this.name = "precisions";
    this.lanes = new Lanes(words.title);
    this.lessons = el("ul", { class: "e-hint-line" });
    this.node = this.study.node;
    this.node.append(this.lanes.node, this.lanes.table, this.lessons);
  }

  see(line) {
    if (line.type === "loading") return this.study.say(words.loading(words.names[line.precision]));
    if (line.type === "table") return this.finish(line.rows);
    if (line.type === "run_started" && line.lane === `${this.offered[0]} vanilla`) this.begin();
    this.lanes.see(line);
  }

  begin() {
    const lane = (name, method) => [`${name} ${method}`, `${words.names[name]}, ${words.methods[method]}`, method === "vanilla"];
    this.lanes.begin(this.offered.flatMap((name) => METHODS.map((method) => lane(name, method))));
    this.lessons.replaceChildren();
    this.study.say(words.running);
  }

  finish(rows) {
    const priced = Object.keys(rows[0].prices);
    const lines = rows.map((row) => {
      const facts = [number(row.vanilla, 0), number(row.eesd, 0), `${number(row.speedup)}x`, percent(row.acceptance_rate), words.texts(row)];
      return [words.names[row.name], ...facts, ...priced.map((count) => number(row.prices[count]))];
    });
    this.lanes.finish([...words.columns, ...priced.map((count) => words.rows(count))], lines);
    this.lessons.replaceChildren(...rows.map((row) => el("li", {}, words.lesson(words.names[row.name], row.prices[4], row.speedup))));
    this.study.say(words.finished);
  }
}
