// What a learning drafter has learned: skipped layers as a grid, everything else as numbers. Hidden if there is nothing.
import { el, panelHead, setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.drafter;
const MOST_PHRASES = 8;

// A row of cells, one per layer; the darker, the more often the layer was skipped (0 to 1).
function gridRow(name, shares) {
  const cells = shares.map((share, layer) => {
    const cell = el("span", { class: "e-layer", title: words.layer(name, layer, share) });
    cell.style.setProperty("--e-share", `${Math.round(100 * share)}%`);
    return cell;
  });
  return el("div", { class: "e-layers", role: "img", "aria-label": words.row(name, shares) }, el("span", { class: "e-layers-name" }, name), ...cells);
}

// From "a1.m1.m2" and 4 layers: which attentions and which feed-forward parts are skipped.
function gridOf({ set, layers, skipped }) {
  if (Array.isArray(skipped)) return [gridRow(words.feed, skipped)];
  if (typeof set !== "string" || !Number.isInteger(layers) || layers < 1 || layers > 1000) return [];
  const parts = new Set(set.split("."));
  const of = (kind) => Array.from({ length: layers }, (_, layer) => Number(parts.has(`${kind}${layer}`)));
  return [gridRow(words.attention, of("a")), gridRow(words.feed, of("m"))];
}

// The phrases that could be drafted next, newest first, each with its age in rounds and how many of its tokens were right.
function phrasesOf({ pool }) {
  const whole = ({ text, age, hits }) => typeof text === "string" && Number.isFinite(age) && Number.isFinite(hits);
  const known = Array.isArray(pool) ? pool.filter((entry) => entry && whole(entry)).slice(0, MOST_PHRASES) : [];
  return known.map(({ text, age, hits }) => el("li", {}, el("span", { class: "e-phrase" }, text), el("span", {}, words.phrase(age, hits))));
}

const spelled = (value) => (Number.isInteger(value) ? String(value) : Number.isFinite(value) ? value.toFixed(2) : String(value));

// Names and values; a nested table is flattened by one level.
const numbersOf = (news) =>
  Object.entries(news).flatMap(([name, value]) => {
    if (["set", "layers", "skipped", "pool"].includes(name)) return [];
    if (value && typeof value === "object") return Object.entries(value).map(([own, part]) => [`${words.names[name] ?? name}: ${own}`, spelled(part)]);
    return [[words.names[name] ?? name, spelled(value)]];
  });

export class Drafter {
  constructor(view) {
    Object.assign(this, { name: "drafter", view, patient: true, shown: null });
    this.title = el("b", { class: "e-round" });
    this.grid = el("div", { class: "e-layer-grid" });
    this.list = el("dl", { class: "e-news" });
    this.phrases = el("ol", { class: "e-phrases", "aria-label": words.pool });
    const head = panelHead(words.title, this.title, el("span", { class: "e-hint" }, words.hint));
    this.node = el("section", { class: "e-panel e-drafter", "aria-label": words.title, hidden: "" }, head, this.grid, this.list, this.phrases);
  }

  reset() {
    this.shown = null;
    this.node.hidden = true;
  }

  draw(state) {
    const lane = state.lanes.eesd;
    const round = lane.rounds.findLast(({ news }) => news);
    this.node.hidden = !round;
    if (!round || round.news === this.shown) return;
    this.shown = round.news;
    setText(this.title, lane.settings?.drafter ?? "");
    this.grid.replaceChildren(...gridOf(round.news));
    this.phrases.replaceChildren(...phrasesOf(round.news));
    this.list.replaceChildren(...numbersOf(round.news).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
}
