// The lanes of a race, one below the other on one axis of computing time, and a table. Shared by the races of methods and of precisions.
import { dress } from "../lib/dress.js";
import { el, setText, tableHead } from "../lib/elements.js";
import { soon } from "../lib/frames.js";
import { number } from "../lib/numbers.js";
import { Lane } from "../lib/rounds.js";
import { isText } from "../lib/token.js";
import { say } from "../lib/words.js";

// One lane's row: its title, its text, and a bar as long as its clock.
class Row {
  constructor(name, title, plain) {
    this.lane = new Lane(name);
    this.text = el("p", { class: "m-text" });
    this.bar = el("span", { class: plain ? "m-bar m-plain" : "m-bar" });
    this.reading = el("span", { class: "m-reading" });
    const track = el("div", { class: "m-track" }, this.bar, this.reading);
    this.node = el("div", { class: "m-lane", role: "group", "aria-label": title }, el("h3", {}, title), this.text, track);
  }

  draw(most) {
    const { clock, written, rate, meanAcceptedLength, tokens, end } = this.lane;
    this.text.replaceChildren(...tokens.filter(isText).map((token) => dress(el("span"), token)));
    this.text.scrollTop = this.text.scrollHeight;
    this.bar.style.width = `calc((100% - 16em) * ${most ? clock / most : 0})`;
    setText(this.reading, written ? say.methods.reading(clock, rate, meanAcceptedLength, end === "finished") : "");
  }
}

export class Lanes {
  constructor(title) {
    this.rows = new Map();
    this.node = el("div", { class: "m-lanes" });
    this.table = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": title, hidden: "" });
  }

  // Every lane is [name, title, whether it is plain decoding].
  begin(lanes) {
    this.rows = new Map(lanes.map(([name, title, plain]) => [name, new Row(name, title, plain)]));
    this.node.replaceChildren(...[...this.rows.values()].map(({ node }) => node));
    this.table.hidden = true;
  }

  see(line) {
    const row = this.rows.get(line.lane);
    if (!row) return;
    row.lane.apply(line);
    if (this.waiting) return;
    this.waiting = true;
    soon(() => this.draw());
  }

  draw() {
    this.waiting = false;
    const most = Math.max(...[...this.rows.values()].map(({ lane }) => lane.clock));
    for (const row of this.rows.values()) row.draw(most);
  }

  // Each of `lines` is a row: its name and its cells (texts or elements).
  finish(columns, lines) {
    const cells = (texts) => texts.map((cell) => (cell instanceof Node ? cell : el("td", {}, cell)));
    const body = lines.map(([name, ...texts]) => el("tr", {}, el("th", { scope: "row" }, name), ...cells(texts)));
    this.table.replaceChildren(el("table", { class: "w-table" }, tableHead(columns), el("tbody", {}, ...body)));
    this.table.hidden = false;
    soon(() => {
      for (const { text } of this.rows.values()) text.scrollTop = 0; // the race is over: show the beginning of each text
    });
  }
}

export const percent = (share) => (share === null ? "–" : `${number(100 * share, 0)} %`);
