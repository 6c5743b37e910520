// The lossless panel: what is promised, both texts side by side, and where and by what margin they differ if they do.
import { recordedWhere } from "../lib/citation.js";
import { button, el, panelHead, setText, tableHead } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { verdictOf } from "../lib/status.js";
import { isKept } from "../lib/token.js";
import { say } from "../lib/words.js";

const words = say.lossless;
const PAGE = 48; // tokens at a time
const CANDIDATES = 5;
const shown = (text) => (text === "" ? "·" : text.replaceAll("\n", "↵"));

export class Lossless {
  constructor(view) {
    Object.assign(this, { name: "lossless", view, patient: true });
    this.promise = el("p");
    this.says = el("p", { class: "e-lossless-says" });
    this.fork = el("ul", { class: "e-fork" });
    this.lists = el("div", { class: "e-candidates" });
    this.grid = el("div", { class: "e-grid", role: "group", tabindex: "0" });
    this.where = el("span", { class: "e-hint" });
    this.earlier = button(words.earlier, () => this.turn(this.start - PAGE));
    this.later = button(words.later, () => this.turn(this.start + PAGE));
    this.toFork = button(words.toFork, () => this.turn(this.first));
    const head = panelHead(words.title, this.where, this.earlier, this.later, this.toFork);
    const parts = [head, this.promise, this.says, this.fork, this.lists, this.grid];
    this.node = el("section", { class: "e-panel e-lossless", "aria-label": words.title }, ...parts);
    this.reset();
  }

  reset() {
    Object.assign(this, { asked: null, start: 0, drawn: "" });
  }

  // Shows the page with this token; null follows the playhead.
  turn(place) {
    this.asked = PAGE * Math.floor(Math.max(0, place) / PAGE);
    this.draw(this.state);
  }

  draw(state) {
    this.state = state;
    const { eesd, vanilla } = state.lanes;
    const version = `${eesd.applied} ${vanilla.applied} ${state.phase} ${this.asked}`;
    if (version === this.drawn) return;
    this.drawn = version;
    const sides = [eesd, vanilla].map((lane) => lane.tokens.filter(isKept));
    const both = Math.min(sides[0].length, sides[1].length);
    const level = eesd.level === "same-distribution" ? eesd.level : (vanilla.level ?? eesd.level);
    this.first = this.firstDifference(state, sides, both);
    setText(this.promise, this.promiseOf(level));
    setText(this.says, this.verdict(state, both));
    this.fork.replaceChildren(...this.facts(state, sides).map((fact) => el("li", {}, fact)));
    this.drawLists(state.result?.first_difference ?? {});
    this.drawGrid(sides, Math.max(sides[0].length, sides[1].length));
  }

  // A recording's promise is about the machine that it was made on.
  promiseOf(level) {
    const { recording } = this.view;
    const promise = words.promise[level] ?? "";
    return promise && recording ? `${words.recorded(recordedWhere(recording))} ${promise}` : promise;
  }

  // With rejection sampling the texts may differ; that is not a fork.
  firstDifference(state, [a, b], both) {
    if (state.lanes.eesd.level === "same-distribution") return null;
    if (state.result) return state.result.first_difference?.position ?? null;
    const place = a.slice(0, both).findIndex((token, i) => token.text !== b[i].text);
    return place < 0 ? null : place;
  }

  verdict(state, both) {
    if (state.result) return verdictOf(state);
    if (this.first !== null) return words.fork(this.first + 1);
    const waiting = state.phase === "cancelled" ? "" : words.waiting;
    return both && state.lanes.eesd.level !== "same-distribution" ? `${words.agree(both)} ${waiting}` : waiting;
  }

  // At a fork: what each lane wrote, and the margin. Without a fork: the decision with the smallest margin.
  facts(state, [a, b]) {
    const { lanes } = say.race;
    if (this.first === null) {
      const margins = b.map((token) => token.margin ?? Infinity);
      const least = margins.reduce((best, margin, i) => (margin < margins[best] ? i : best), 0);
      const narrowest = margins.length && Number.isFinite(margins[least]) ? [words.smallest(least + 1, margins[least])] : [];
      const apart = state.result?.cache_difference ?? null;
      return apart === null ? narrowest : [...narrowest, words.cache(apart)];
    }
    const side = (lane, token) => (token ? [words.side(lane, JSON.stringify(token.text), token.target, token.margin)] : []);
    const margin = state.result?.first_difference?.margin;
    return [...side(lanes.eesd, a[this.first]), ...side(lanes.vanilla, b[this.first]), ...(Number.isFinite(margin) ? [words.margin(margin)] : [])];
  }

  // Each lane's best candidates at the fork, with the other lane's choice marked, to show which two swapped places.
  drawLists({ candidates = {}, vanilla_id, eesd_id }) {
    const { lanes } = say.race;
    const writers = new Map([
      [vanilla_id, "vanilla"],
      [eesd_id, "eesd"],
    ]);
    const list = (lane) => {
      const rows = (candidates[lane] ?? []).slice(0, CANDIDATES);
      if (!rows.length) return [];
      const line = ({ id, text, probability, behind }) => {
        const cells = [number(probability, 3), number(behind, 4), lanes[writers.get(id)] ?? ""];
        const look = writers.get(id) === lane ? "e-own-choice" : writers.has(id) ? "e-other-choice" : "";
        return el("tr", { class: look }, el("th", { scope: "row" }, JSON.stringify(text)), ...cells.map((cell) => el("td", {}, cell)));
      };
      const caption = el("caption", {}, words.candidatesOf(lanes[lane]));
      return [el("table", {}, caption, tableHead(words.candidates), el("tbody", {}, ...rows.map(line)))];
    };
    this.lists.replaceChildren(...list("eesd"), ...list("vanilla"));
  }

  drawGrid(sides, length) {
    const last = PAGE * Math.floor(Math.max(0, length - 1) / PAGE);
    this.start = Math.min(this.asked ?? this.first ?? last, last);
    this.start -= this.start % PAGE;
    const end = Math.min(length, this.start + PAGE);
    setText(this.where, length ? words.caption(this.start + 1, end) : "");
    this.earlier.disabled = this.start === 0;
    this.later.disabled = end >= length;
    this.toFork.hidden = this.first === null;
    this.grid.hidden = !length;
    this.grid.setAttribute("aria-label", `${words.grid}, ${words.caption(this.start + 1, end)}`);
    this.grid.replaceChildren(...Array.from({ length: end - this.start }, (_, i) => this.cell(sides, this.start + i)));
  }

  cell([a, b], place) {
    const [own, plain] = [a[place], b[place]];
    const compared = own && plain;
    const same = compared && own.text === plain.text;
    const look = (token) => `e-cell-token${token?.special ? " e-cell-special" : ""}`;
    const part = (token) => el("span", { class: look(token) }, token ? shown(token.text) : " ");
    const mark = compared ? (same ? "=" : "≠") : "…";
    return el(
      "span",
      { class: `e-cell${compared && !same ? " e-cell-differs" : ""}${place === this.first ? " e-cell-fork" : ""}` },
      part(own),
      el("span", { class: "e-cell-mark" }, mark),
      part(plain),
    );
  }
}
