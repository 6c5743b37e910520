// Several texts at once: each text's rows in every pass, in three forms that write the same texts: without padding, padded, and without drafts.
// A live race of them is a study; an opened trace of several texts is shown here too.
import { swatch } from "../lib/chart.js";
import { button, el, panelHead, setText } from "../lib/elements.js";
import { soon } from "../lib/frames.js";
import { number } from "../lib/numbers.js";
import { Forms, NAMES, priceOf } from "../lib/passes.js";
import { say } from "../lib/words.js";
import { LaneText } from "./race_text.js";
import { Study } from "./study.js";

const words = say.together;
const KINDS = ["accepted", "rejected", "untested", "correction", "bonus", "plain", "padding"];
const USUAL = 4; // default number of texts
const [MOST_TEXTS, MOST_PASSES] = [16, 240]; // drawn at most, of a trace
const PIXELS = 12; // size of a cell
const kindOf = ({ kind }) => kind;

// One text's line of the grid. A block is redrawn only if it has changed.
class Line {
  constructor(row, open) {
    this.name = button(String(row + 1), open, "g-name", { "aria-pressed": "false" });
    this.cells = el("div", { class: "g-cells" });
    this.node = el("div", { class: "g-line" }, this.name, this.cells);
    this.cells.addEventListener("click", open);
    this.looks = [];
    this.tokens = new Map(); // cell -> token
  }

  draw(blocks) {
    blocks.forEach((cells, i) => {
      const look = cells.map(kindOf).join(" ");
      if (this.looks[i] === look) return;
      this.looks[i] = look;
      const block = this.block(cells);
      if (this.cells.children[i]) this.cells.children[i].replaceWith(block);
      else this.cells.append(block);
    });
  }

  block(cells) {
    const node = el("span", { class: "g-block" });
    node.style.width = `${PIXELS * cells.length}px`;
    for (const { kind, token } of cells) {
      if (kind === "blank") continue;
      const cell = el("span", { class: "g-cell" }, el("i", { class: `e-swatch e-fill-${kind}` }));
      if (token) this.tokens.set(cell, token);
      node.append(cell);
    }
    return node;
  }
}

export class Together {
  // `live`: {path, form, offered} if a server can write texts; null in an offline file.
  constructor(view, live = null) {
    Object.assign(this, { name: "together", view, live, forms: new Forms(), shown: NAMES[0], text: 0, lines: new Map() });
    this.chosen = el("select", { class: "e-select", "aria-label": words.texts });
    this.buttons = new Map(NAMES.map((form) => [form, this.formButton(form)]));
    this.build();
  }

  build() {
    const asked = () => ({ ...this.live.form(), texts: Number(this.chosen.value) });
    this.study = new Study({ name: "together", words, path: this.live?.path, form: asked, see: (line) => this.see(line) });
    this.node = this.study.node;
    this.study.button.hidden = !this.live;
    this.chosen.append(...(this.live?.offered ?? []).map((count) => el("option", { value: count }, words.count(count))));
    this.chosen.value = String(USUAL);
    this.study.button.before(this.chosen);
    this.chosen.hidden = !this.live;
    this.progress = el("progress", { class: "g-progress", max: "1", "aria-label": words.progress });
    this.price = el("p", { class: "g-price" });
    this.grid = el("div", { class: "g-grid", role: "group", tabindex: "0", "aria-label": words.grid });
    this.about = el("p", { class: "g-about" });
    this.textBox = new LaneText(this.view.panels.tip, words.opened, { choose: () => {}, point: () => {} });
    this.opened = el("div", { class: "g-text" }, el("h3", {}, words.opened), this.about, this.textBox.box);
    const key = el("div", { class: "e-key g-key" }, ...KINDS.map((kind) => swatch(kind, say.states[kind] ?? words.kinds[kind])));
    const forms = el("div", { class: "g-forms", role: "group", "aria-label": words.form }, ...[...this.buttons.values()].map(({ node }) => node));
    this.body = el("div", { hidden: "" }, this.progress, forms, key, el("div", { class: "g-both" }, this.grid, this.opened), this.price);
    this.node.append(this.body);
    this.node.hidden = !this.live;
    this.listen();
  }

  formButton(form) {
    const reading = el("span", { class: "g-reading" });
    const node = button("", () => this.show(form), "g-form", { "aria-pressed": "false", disabled: "" });
    node.append(el("b", {}, words.forms[form]), reading);
    return { node, reading };
  }

  // Arrow keys move from text to text; the pointer shows a token's numbers.
  listen() {
    this.grid.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const names = [...this.lines.values()].map(({ name }) => name);
      names[(names.indexOf(document.activeElement) + step + names.length) % names.length]?.focus();
      event.preventDefault();
    });
    const { tip } = this.view.panels;
    this.grid.addEventListener("pointerover", (event) => {
      const cell = event.target.closest(".g-cell");
      const token = [...this.lines.values()].map(({ tokens }) => tokens.get(cell)).find(Boolean);
      if (token) tip.show(cell, token);
      else tip.hide();
    });
    this.grid.addEventListener("pointerleave", () => tip.hide());
  }

  // ---- where the records come from ----

  see(line) {
    if (line.type === "table") return this.finish(line.rows);
    if (line.type === "run_started" && line.lane === NAMES[0] && !line.row) this.begin();
    this.forms.apply(line);
    if (this.waiting) return;
    this.waiting = true;
    soon(() => {
      this.waiting = false;
      this.drawAll();
    });
  }

  begin() {
    Object.assign(this, { forms: new Forms(), text: 0, fromTrace: false });
    this.study.say(words.running);
    this.clear();
  }

  finish(rows) {
    this.study.say(words.finished(rows.map(({ identical }) => identical)));
    this.drawAll();
  }

  // Shows an opened trace if it has more than one text. It disappears when another run begins.
  draw() {
    const { timeline } = this.view.player;
    const { records } = timeline;
    if (timeline === this.timeline && records.length === this.seen) return;
    const [isNew, from] = timeline === this.timeline ? [false, this.seen] : [true, 0];
    const several = records.slice(from).some(({ row }) => row > 0);
    Object.assign(this, { timeline, seen: records.length });
    if (isNew && this.fromTrace) this.forget();
    if (!several) return;
    this.begin();
    for (const record of records) this.forms.apply(record);
    this.node.hidden = false;
    this.fromTrace = true;
    this.shown = this.forms.first;
    this.study.say(words.fromTrace(this.form.lanes.length));
    this.drawAll();
  }

  forget() {
    this.begin();
    this.study.say("");
    this.body.hidden = true;
    this.node.hidden = !this.live;
  }

  // ---- what is drawn ----

  get form() {
    return this.forms.get(this.shown);
  }

  show(form) {
    this.shown = form;
    this.clear();
    this.drawAll();
  }

  open(row) {
    this.text = row;
    this.textBox.reset();
    this.drawAll();
  }

  clear() {
    this.lines = new Map();
    this.grid.replaceChildren();
    this.textBox.reset();
  }

  drawAll() {
    if (!this.form) return;
    this.body.hidden = false;
    this.progress.value = this.forms.progress;
    const plain = this.forms.get("vanilla");
    for (const [form, { node, reading }] of this.buttons) {
      const own = this.forms.get(form);
      node.disabled = !own;
      node.setAttribute("aria-pressed", String(form === this.shown));
      setText(reading, own ? words.reading(own.clock, own.rate, form === "vanilla" ? NaN : own.rate / plain?.rate) : "");
    }
    this.drawGrid();
    this.drawText();
    setText(this.price, this.priceText());
  }

  drawGrid() {
    const lanes = this.form.lanes.slice(0, MOST_TEXTS);
    const passes = this.form.grid.slice(0, MOST_PASSES);
    const atEnd = this.grid.scrollWidth - this.grid.scrollLeft - this.grid.clientWidth < 2 * PIXELS;
    lanes.forEach((lane, i) => {
      if (!this.lines.has(lane.row)) this.addLine(lane);
      const line = this.lines.get(lane.row);
      line.draw(passes.map(({ rows }) => rows[i]));
      line.name.setAttribute("aria-pressed", String(lane.row === this.text));
      line.name.setAttribute("aria-label", words.line(lane));
      line.node.classList.toggle("g-chosen", lane.row === this.text);
    });
    if (atEnd && !this.form.over) this.grid.scrollLeft = this.grid.scrollWidth;
  }

  addLine({ row }) {
    const line = new Line(row, () => this.open(row));
    this.lines.set(row, line);
    this.grid.append(line.node);
  }

  drawText() {
    const lane = this.form.texts.get(this.text) ?? this.form.lanes[0];
    setText(this.about, words.about(lane));
    this.textBox.draw(lane);
    this.textBox.settle();
  }

  // Whether drafting paid off, and what rows cost: for a finished study, or for the one form in a trace.
  priceText() {
    const drafts = this.forms.get("ems") ?? this.forms.get("padded");
    const plain = this.forms.get("vanilla");
    if (!drafts?.over || (plain && !plain.over)) return "";
    const own = priceOf(drafts);
    if (!plain) return words.alone(drafts.lanes.length, own);
    return words.price(drafts.lanes.length, drafts.rate / plain.rate, own, priceOf(plain));
  }
}
