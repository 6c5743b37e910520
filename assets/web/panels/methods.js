// A race of several methods: vanilla and up to four others write the same text, their lanes under each other on one axis of computing time.
import { dress } from "../lib/dress.js";
import { el, setText, tableHead } from "../lib/elements.js";
import { soon } from "../lib/frames.js";
import { number } from "../lib/numbers.js";
import { Lane } from "../lib/rounds.js";
import { isText } from "../lib/token.js";
import { say } from "../lib/words.js";
import { Study } from "./study.js";

const words = say.methods;
const USUAL = ["throughput", "beta", "prompt-lookup", ""];
const PLAIN = "vanilla";
const nameOf = (name) => words.names[name] ?? name;

// One lane's row: its title, its text, and a bar as long as its clock.
export class Row {
  constructor(name, title = nameOf(name), plain = name === PLAIN) {
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
    setText(this.reading, written ? words.reading(clock, rate, meanAcceptedLength, end === "finished") : "");
  }
}

export class Methods {
  // `offered`: names that the server knows.
  constructor({ path, form, offered }) {
    const asked = () => ({ ...form(), methods: this.chosen });
    this.study = new Study({ name: "methods", words, path, form: asked, see: (line) => this.see(line) });
    this.name = "methods";
    this.selects = USUAL.map((usual, i) => this.select(i, usual, offered));
    this.lanes = el("div", { class: "m-lanes" });
    this.table = el("div", { class: "w-scroll", tabindex: "0", role: "group", "aria-label": words.title, hidden: "" });
    this.node = this.study.node;
    const choice = el("div", { class: "m-choice" }, el("span", {}, words.against), ...this.selects);
    this.missing = el("p", { class: "e-hint-line", hidden: "" });
    this.study.line.before(choice, this.missing);
    this.node.append(this.lanes, this.table);
  }

  select(i, usual, offered) {
    const options = ["", ...offered].map((name) => el("option", { value: name }, name ? nameOf(name) : words.none));
    const node = el("select", { class: "e-select", "aria-label": words.method(i + 1) }, ...options);
    node.value = usual;
    return node;
  }

  // Without those whose head the chosen model lacks: their names, and a sentence that says so.
  offer(lacking, missing) {
    for (const option of this.selects.flatMap(({ options }) => [...options])) option.disabled = lacking.includes(option.value);
    for (const select of this.selects) if (lacking.includes(select.value)) select.value = "";
    setText(this.missing, missing);
    this.missing.hidden = !missing;
  }

  // As they were chosen, each once.
  get chosen() {
    return [...new Set(this.selects.map(({ value }) => value).filter(Boolean))];
  }

  see(line) {
    if (line.type === "table") return this.finish(line.rows);
    if (line.type === "run_started" && line.lane === PLAIN) this.begin();
    const row = this.rows?.get(line.lane);
    if (!row) return;
    row.lane.apply(line);
    if (this.waiting) return;
    this.waiting = true;
    soon(() => this.drawLanes());
  }

  begin() {
    this.rows = new Map([PLAIN, ...this.chosen].map((name) => [name, new Row(name)]));
    this.lanes.replaceChildren(...[...this.rows.values()].map(({ node }) => node));
    this.table.hidden = true;
    this.study.say(words.running);
  }

  drawLanes() {
    this.waiting = false;
    const most = Math.max(...[...this.rows.values()].map(({ lane }) => lane.clock));
    for (const row of this.rows.values()) row.draw(most);
  }

  finish(rows) {
    const best = Math.max(...rows.map(({ speedup }) => speedup));
    const lines = rows.map((row) => {
      const { name, seconds, tokens_per_second: rate, speedup, tokens_per_round: length, acceptance_rate: accepted } = row;
      const share = accepted === null ? "–" : `${number(100 * accepted, 0)} %`;
      const cells = [number(seconds), number(rate, 0), `${number(speedup)}x`, number(length), share, words.texts(row)];
      const look = speedup === best ? "w-best" : "";
      return el("tr", {}, el("th", { scope: "row" }, nameOf(name)), ...cells.map((text, i) => el("td", i === 2 ? { class: look } : {}, text)));
    });
    this.table.replaceChildren(el("table", { class: "w-table" }, tableHead(words.columns), el("tbody", {}, ...lines)));
    this.table.hidden = false;
    this.study.say(words.finished);
  }
}
