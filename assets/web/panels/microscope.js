// The round microscope: one round in six steps, with its numbers. It shows the selected round, or the one at the
// playhead; at the end of a run, the last one that drafted.
import { dress } from "../lib/dress.js";
import { button, el, panelHead, setText } from "../lib/elements.js";
import { explain } from "../lib/explain.js";
import { layout } from "../lib/tree.js";
import { say } from "../lib/words.js";

const words = say.microscope;

const line = ({ token, text }) => el("li", {}, dress(el("span"), token), el("span", {}, text));

// A draft in the tree. The accepted path is bold and ticked.
function nodeOf(token, { column, line, branch }, alias) {
  const look = `e-node${branch ? " e-branch" : ""}${alias ? " e-alias" : ""}${token.state === "accepted" ? " e-on-path" : ""}`;
  const node = el("span", { class: look, role: "listitem" }, dress(el("span"), token));
  node.style.gridArea = `${line + 1} / ${column + 1}`;
  return node;
}

// The cost of the rows beside the spine, from the verify times measured when the run began.
function priceOf({ costs }, { tokens, drafts, decisions }) {
  const [spine, rows] = [decisions.length + 1, drafts.length + 1];
  const seconds = costs?.verify[rows - 1] - costs?.verify[spine - 1];
  const hits = tokens.filter(({ sibling, state }) => sibling && state === "accepted").length;
  return Number.isFinite(seconds) ? words.tree.price(rows, rows - spine, seconds, hits) : "";
}

// The measured time of a pass over one row, two rows and so on up to the tree's: a bar each, those for rows beside the spine hatched.
function pricesOf({ costs }, { drafts, decisions }) {
  const times = costs?.verify.slice(0, drafts.length + 1) ?? [];
  if (times.length <= drafts.length || !times.every(Number.isFinite)) return [];
  const most = Math.max(...times, 1e-9);
  const bars = times.map((seconds, i) => {
    const bar = el("span", { class: i > decisions.length ? "e-price e-beside" : "e-price", title: words.tree.pass(i + 1, seconds) });
    bar.style.height = `${(100 * seconds) / most}%`;
    return bar;
  });
  return [el("span", { class: "e-prices-most" }, words.tree.most(most)), ...bars];
}

export class Microscope {
  constructor(view) {
    Object.assign(this, { name: "microscope", view, patient: true, drawn: "" });
    this.round = el("b", { class: "e-round" });
    this.why = el("p", { class: "e-why-words" });
    this.follow = button(words.follow, () => view.release(), "e-follow", { hidden: "" });
    this.go = el("input", { type: "number", min: "1", class: "e-select e-go", placeholder: words.go, "aria-label": words.go });
    this.go.addEventListener("change", () => view.choose(Number(this.go.value) || null));
    const head = panelHead(words.title, this.round, this.go, this.follow, el("span", { class: "e-hint" }, words.pick));
    this.steps = words.steps.map((title, i) => {
      const body = el("div", { class: "e-step-body" });
      return { body, node: el("li", { class: "e-step" }, el("h3", {}, el("span", { class: "e-step-number" }, String(i + 1)), title), body) };
    });
    this.list = el("ol", { class: "e-steps" }, ...this.steps.map(({ node }) => node));
    this.tree = el("div", { class: "e-tree", role: "list", "aria-label": words.tree.label, tabindex: "0" });
    this.price = el("p", { class: "e-step-note" });
    this.prices = el("div", { class: "e-prices", role: "img", "aria-label": words.tree.prices });
    this.node = el("section", { class: "e-panel e-microscope", "aria-label": words.title }, head, this.why, this.tree, this.prices, this.price, this.list);
  }

  reset() {
    this.drawn = "";
  }

  // Draws at once, without waiting for the charts.
  look() {
    this.draw(this.view.run);
  }

  draw(state) {
    const lane = state.lanes.eesd;
    const round = this.view.selected ?? (state.phase === "finished" ? lane.drafting : lane.round);
    this.follow.hidden = this.view.chosen === null;
    if (this.view.chosen === null && document.activeElement !== this.go) this.go.value = "";
    this.list.hidden = !round;
    setText(this.round, round ? words.round(round.number) : "");
    const version = `${round?.number} ${round === lane.round ? lane.applied : "over"}`;
    if (version === this.drawn) return;
    this.drawn = version;
    this.drawTree(lane, round);
    if (round) this.fill(explain(lane, round));
    else setText(this.why, words.empty);
  }

  // Draws the drafts as a tree, unless they are a chain.
  drawTree(lane, round) {
    const drafts = round?.tokens.slice(0, round.drafts.length) ?? [];
    this.tree.hidden = this.price.hidden = this.prices.hidden = !drafts.some(({ sibling }) => sibling);
    if (this.tree.hidden) return;
    const cells = layout(drafts.map(({ parent }) => parent));
    const merges = lane.settings?.drafter?.startsWith("gsd"); // its branches continue with tokens of the spine, which are drawn dashed
    const spine = new Set(drafts.filter(({ sibling }) => !sibling).map(({ id }) => id));
    this.tree.replaceChildren(...drafts.map((token, i) => nodeOf(token, cells[i], merges && token.sibling && spine.has(token.id))));
    this.prices.replaceChildren(...pricesOf(lane, round));
    setText(this.price, priceOf(lane, round));
  }

  fill({ why, steps }) {
    setText(this.why, why);
    const now = steps.findLastIndex(({ done }) => done);
    steps.forEach(({ done, note, formulas, rows }, i) => {
      const { node, body } = this.steps[i];
      node.classList.toggle("e-ahead", !done);
      if (i === now) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
      body.replaceChildren(
        el("p", { class: "e-step-note" }, note),
        ...(rows.length ? [el("ol", { class: "e-rows" }, ...rows.map(line))] : []),
        ...formulas.map((formula) => el("p", { class: "e-formula" }, formula)),
      );
    });
  }
}
