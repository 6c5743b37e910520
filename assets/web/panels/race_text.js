// The text of a lane: one element per token, appended as tokens come and cut off when the playhead goes back. A verdict changes classes only.
// Of a long text the page holds the last part, and more when somebody scrolls up: laying out thousands of small boxes for every frame would make
// scrubbing slow. Elements that leave the page are reused, because scrubbing discards thousands a second.
import { dress } from "../lib/dress.js";
import { el, setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.race;
const CHUNK = 40; // the part on the page moves by this many tokens
const LEAST = 240; // tokens on the page at least: a run of usual length fits whole
const TOKEN_AREA = 1100; // square pixels of an average token
const NEAR_END = 32; // pixels: closer to the end than this counts as reading along

const lookOf = (token) => `${token.state} ${token.text}`;

export class LaneText {
  constructor(tip, label, { choose, point }) {
    Object.assign(this, { tip, onChoose: choose, onPoint: point });
    this.box = el("div", { class: "e-text", role: "group", "aria-label": label });
    this.most = LEAST;
    new ResizeObserver(() => this.measure()).observe(this.box);
    this.listen();
    this.reset();
  }

  // How many tokens are on the page while the end is in view: about twice what is visible.
  measure() {
    const seen = (this.box.clientWidth * this.box.clientHeight) / TOKEN_AREA;
    this.most = Math.max(LEAST, CHUNK * Math.ceil((2 * seen) / CHUNK));
    if (this.following) this.toEnd(); // larger type, as in presenter mode, must not push the end out of sight
  }

  startOf(length) {
    return Math.max(0, CHUNK * Math.ceil((length - this.most) / CHUNK));
  }

  reset() {
    this.prompt = el("span", { class: "e-prompt" });
    this.box.replaceChildren(this.prompt);
    this.start = 0; // the token that the first element shows
    this.nodes = [];
    this.spare = []; // elements to reuse
    this.looks = []; // what each element shows, so that unchanged ones are left alone
    this.marked = { "e-selected": [], "e-pointed": [] }; // elements of the chosen round, and of the one under the pointer
    this.numbers = new Map(); // element -> place among the tokens
    this.tokens = [];
    this.stop = null; // the one element that Tab reaches
    this.following = true;
  }

  draw(lane) {
    this.tokens = lane.tokens;
    this.text = lane.prompt;
    this.prompt.classList.toggle("e-request", Boolean(lane.settings?.chat)); // on its own line, since the reply does not continue it
    const { length } = this.tokens;
    const before = this.end;
    this.cut(length);
    for (let place = Math.max(this.start, lane.redrawn); place < this.end; place += 1) this.redress(this.tokens[place]);
    this.moveStart(this.following ? this.startOf(length) : Math.min(this.start, this.startOf(length)));
    this.box.append(this.make(this.end, length));
    for (const token of lane.changed) if (token === this.tokens[token.place] && token.place >= this.start) this.redress(token);
    lane.changed.clear();
    lane.redrawn = Infinity;
    this.grown = this.end !== before;
  }

  // Reads the layout, so it runs after everything of this frame has been drawn.
  settle() {
    if (this.following && this.grown) this.toEnd();
    this.grown = false;
    this.tip.place();
  }

  // The place behind the last token on the page.
  get end() {
    return this.start + this.nodes.length;
  }

  node(place) {
    return this.nodes[place - this.start];
  }

  // Makes elements for the tokens from one place to another, before or after those on the page.
  make(from, to) {
    const fresh = document.createDocumentFragment();
    const tokens = this.tokens.slice(from, to);
    const nodes = tokens.map((token) => dress(this.spare.pop() ?? el("span", { tabindex: "-1" }), token));
    nodes.forEach((node, i) => this.numbers.set(node, from + i));
    fresh.append(...nodes);
    const add = from < this.start ? "unshift" : "push";
    this.nodes[add](...nodes);
    this.looks[add](...tokens.map(lookOf));
    if (!this.stop && nodes.length) this.setStop(nodes[0]);
    return fresh;
  }

  redress(token) {
    const at = token.place - this.start;
    if (this.looks[at] === lookOf(token)) return;
    const node = dress(this.nodes[at], token);
    node.classList.add("e-judged"); // animates the crossing out; tokens that arrive already rejected are not animated
    this.looks[at] = lookOf(token);
    if (this.tip.target === node) this.tip.show(node, token);
  }

  // Removes the tokens from this place on.
  cut(length) {
    this.drop(Math.max(0, length - this.start), this.nodes.length);
  }

  // Removes elements from the page, all in one operation.
  drop(from, to) {
    if (from >= to) return;
    const range = document.createRange();
    range.setStartBefore(this.nodes[from]);
    range.setEndAfter(this.nodes[to - 1]);
    range.deleteContents();
    const gone = new Set(this.nodes.splice(from, to - from));
    this.looks.splice(from, to - from);
    for (const node of gone) this.numbers.delete(node);
    this.spare.push(...gone);
    if (gone.has(this.tip.target)) this.tip.hide();
    if (gone.has(this.stop)) this.setStop(null);
    if (!this.stop && this.nodes.length) this.setStop(this.nodes[this.nodes.length - 1]);
  }

  moveStart(start) {
    if (start > this.start) {
      this.drop(0, Math.min(start - this.start, this.nodes.length));
      this.start = start;
    } else if (start < this.start) {
      this.prompt.after(this.make(start, Math.min(this.start, this.tokens.length)));
      this.start = start;
    }
    setText(this.prompt, this.start ? words.earlier(this.start) : this.text);
  }

  // Adds earlier tokens to the page without moving the text being read.
  reveal(place) {
    if (place >= this.start) return;
    const fromEnd = this.box.scrollHeight - this.box.scrollTop;
    this.moveStart(CHUNK * Math.floor(Math.max(0, place) / CHUNK));
    this.box.scrollTop = this.box.scrollHeight - fromEnd;
  }

  mark(chosen, pointed) {
    this.markAs("e-selected", chosen);
    this.markAs("e-pointed", pointed);
  }

  markAs(look, tokens) {
    for (const node of this.marked[look]) node.classList.remove(look);
    this.marked[look] = tokens.map((token) => this.node(token.place)).filter(Boolean);
    for (const node of this.marked[look]) node.classList.add(look);
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  setStop(node) {
    this.stop?.setAttribute("tabindex", "-1");
    node?.setAttribute("tabindex", "0");
    this.stop = node;
  }

  listen() {
    const { box, tip } = this;
    const show = (node) => {
      if (!this.numbers.has(node)) return;
      const token = this.tokens[this.numbers.get(node)];
      tip.show(node, token);
      this.onPoint(token);
    };
    const hide = () => {
      tip.hide();
      this.onPoint(null);
    };
    box.addEventListener("pointerover", (event) => show(event.target.closest(".e-tok")));
    box.addEventListener("pointerleave", hide);
    box.addEventListener("focusout", hide);
    box.addEventListener("focusin", (event) => {
      if (this.numbers.has(event.target)) this.setStop(event.target);
      show(event.target);
    });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => this.choose(event.target.closest(".e-tok")));
    box.addEventListener("scroll", () => {
      this.following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
      if (!this.following && box.scrollTop < NEAR_END) this.reveal(this.start - CHUNK);
      tip.place();
    });
  }

  choose(node) {
    if (this.numbers.has(node)) this.onChoose(this.tokens[this.numbers.get(node)]);
  }

  // Left and right move by token, up and down by round; Enter chooses a token's round.
  key(event) {
    const here = this.numbers.get(event.target);
    if (here === undefined) return;
    if (event.key === "Escape" && this.tip.target) {
      event.preventDefault(); // handled here: on the page, Escape also stops a run
      return this.tip.hide();
    }
    const target = {
      ArrowRight: () => this.visible(here + 1, 1),
      ArrowLeft: () => this.visible(here - 1, -1),
      ArrowDown: () =>
        this.visible(
          this.tokens.findIndex((token) => token.round > this.tokens[here].round),
          1,
        ),
      ArrowUp: () =>
        this.visible(
          this.tokens.findIndex((token) => token.round >= this.tokens[here].round - 1),
          1,
        ),
      Home: () => this.visible(0, 1),
      End: () => this.visible(this.end - 1, -1),
      Enter: () => this.choose(event.target),
    }[event.key];
    if (!target) return;
    event.preventDefault();
    target()?.focus();
  }

  visible(from, step) {
    let place = from;
    this.reveal(place);
    while (this.node(place) && !this.node(place).getClientRects().length) place += step;
    return this.node(place);
  }
}
