// The race: two lanes with their clocks, the legend of token states, and the status line.
import { dress } from "../lib/dress.js";
import { el, panelHead, setText } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { statusOf } from "../lib/status.js";
import { STATES } from "../lib/token.js";
import { say } from "../lib/words.js";
import { LaneText } from "./race_text.js";

const words = say.race;

// The legend shows each state as a token in that state, and says what it means.
function legend() {
  const tokens = STATES.map((state) => dress(el("span", { title: say.intro.meanings[state] }), { state, text: say.states[state] }));
  return el("div", { class: "e-legend", role: "group", "aria-label": words.legend }, ...tokens);
}

function metric(unit, extra = "") {
  const value = el("b", {}, "–");
  const node = el("span", { class: `e-metric ${extra}` }, value, ` ${unit}`);
  return { node, set: (text) => setText(value, text) };
}

class LaneView {
  // `choose` receives the token that was clicked, `point` the one under the pointer.
  constructor(name, tip, { choose, point }) {
    const title = words.lanes[name];
    this.metrics = { clock: metric(words.units.clock, "e-clock-time"), rate: metric(words.units.rate) };
    if (name === "eesd") Object.assign(this.metrics, { length: metric(words.units.length), speedup: metric(words.against, "e-speedup") });
    this.prefill = el("span", { class: "e-metric e-prefill", title: words.prefillHint });
    this.text = new LaneText(tip, words.text(title), { choose, point });
    const parts = Object.values(this.metrics).map((part) => part.node);
    this.name = name;
    this.title = el("h3", {}, title);
    const head = el("div", { class: "e-lane-head" }, this.title, ...parts, this.prefill);
    this.node = el("section", { class: `e-lane e-lane-${name}` }, head, this.text.box);
  }

  draw(lane, speedup) {
    setText(this.title, lane.foreign || words.lanes[this.name]);
    this.metrics.clock.set(number(lane.started ? lane.clock : NaN));
    this.metrics.rate.set(number(lane.rate, lane.rate < 10 ? 1 : 0));
    this.metrics.length?.set(number(lane.meanAcceptedLength));
    this.metrics.speedup?.set(Number.isFinite(speedup) ? `${number(speedup)}x` : "–");
    setText(this.prefill, lane.prefill === null ? "" : words.prefill(lane.prefill));
    this.text.draw(lane);
  }
}

const SIGNS = { finished: "=", cancelled: "■" };
const VERDICTS = { true: "=", false: "≠", null: "≈" };
const signOf = (state) => (state.result ? VERDICTS[state.result.identical] : (SIGNS[state.phase] ?? ""));

// What a screen reader hears once, at the end, instead of the stream of tokens. When both lanes are done, it waits for the verdict.
function announcement(state) {
  const { eesd, vanilla } = state.lanes;
  const alone = state.phase === "finished" && !(eesd.started && vanilla.started);
  if (!state.result && !alone && state.phase !== "cancelled") return "";
  return words.over(statusOf(state), eesd.rate, vanilla.rate, state.speedup);
}

export class Race {
  constructor(view) {
    this.name = "race";
    this.view = view;
    this.lanes = { eesd: this.lane("eesd"), vanilla: this.lane("vanilla") };
    this.toggle = el("input", { type: "checkbox" });
    this.toggle.addEventListener("change", () => this.hideRejected(this.toggle.checked));
    this.sign = el("span", { class: "e-sign", "aria-hidden": "true" });
    this.status = el("span", { class: "e-status-text" });
    this.line = el("div", { class: "e-status" }, this.sign, this.status);
    this.live = el("div", { class: "e-hidden", role: "status", "aria-live": "polite" });
    const head = panelHead(words.title, legend(), el("label", { class: "e-toggle" }, this.toggle, ` ${words.hide}`));
    const lanes = Object.values(this.lanes).map(({ node }) => node);
    this.node = el("section", { class: "e-panel e-race", "aria-label": words.title }, head, ...lanes, this.line, this.live);
  }

  lane(name) {
    const { view } = this;
    const roundOf = (token) => this.roundOf(token, name);
    const look = (token) => {
      view.choose(roundOf(token));
      view.reveal(view.panels.microscope.node);
    };
    return new LaneView(name, view.panels.tip, { choose: look, point: (token) => view.point(token && roundOf(token)) });
  }

  // The round that a token belongs to; for a token of vanilla, the EESD round that wrote its position.
  roundOf({ round, position }, lane) {
    if (lane === "eesd") return round;
    return this.view.run.lanes.eesd.rounds.findLast((other) => other.position <= position)?.number ?? null;
  }

  hideRejected(hide) {
    const { text } = this.lanes.eesd;
    text.box.classList.toggle("e-hide-rejected", hide);
    if (text.following) text.toEnd();
  }

  reset() {
    for (const lane of Object.values(this.lanes)) lane.text.reset();
  }

  // Marks the chosen round's tokens, and those of the round under the pointer in both texts.
  mark(chosen, pointed) {
    const { eesd, vanilla } = this.lanes;
    const last = pointed && pointed.position + (pointed.outcome?.accepted ?? 0);
    const isBeside = ({ position }) => position >= pointed.position && position <= last;
    eesd.text.mark(chosen?.tokens ?? [], pointed?.tokens ?? []);
    vanilla.text.mark([], pointed ? vanilla.text.tokens.filter(isBeside) : []);
  }

  draw(state) {
    for (const [name, lane] of Object.entries(this.lanes)) lane.draw(state.lanes[name], state.speedup);
    this.line.dataset.phase = state.phase;
    this.line.dataset.differs = String(state.result?.identical === false);
    setText(this.sign, signOf(state));
    setText(this.status, this.said(state));
    setText(this.live, announcement(state));
  }

  // While a run is played back, nothing is being prepared, and the clocks are not the spectator's.
  said(state) {
    const { player } = this.view;
    if (state.phase !== "running" || player.live) return statusOf(state);
    if (!state.lanes.eesd.round) return words.atStart;
    return player.playing && player.speed !== 1 ? `${statusOf(state)}, ${words.played(player.speed)}` : statusOf(state);
  }

  // Called after the type size has changed, since the boxes may keep their size.
  measure() {
    for (const lane of Object.values(this.lanes)) lane.text.measure();
  }

  settle() {
    for (const lane of Object.values(this.lanes)) lane.text.settle();
  }
}
