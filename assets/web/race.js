// The race: two lanes with their clocks, the legend of token states, and the line that says where the run stands.
(() => {
  "use strict";
  const { el, number, plural, seconds, setText } = window.EESD;
  const AGAINST = "against this engine with k = 0";

  // The legend shows each state as a token in that state.
  const legend = () =>
    el("div", { class: "e-legend", role: "group", "aria-label": "token states" },
      ...window.EESD.STATES.map((state) => window.EESD.dress(el("span"), { state, text: state })));

  const metric = (unit, extra = "") => {
    const value = el("b", {}, "–");
    const node = el("span", { class: `e-metric ${extra}` }, value, ` ${unit}`);
    return { node, set: (text) => setText(value, text) };
  };

  class LaneView {
    constructor(name, title, tip, select) {
      const own = name === "eesd";
      this.metrics = { clock: metric("s", "e-clock"), rate: metric("tok/s") };
      if (own) Object.assign(this.metrics, { length: metric("tok/round"), speedup: metric(AGAINST, "e-speedup") });
      this.prefill = el("span", { class: "e-metric e-prefill", title: "reading the prompt; not on the clock" });
      this.text = new window.EESD.LaneText(tip, title, (token) => select(token, own));
      const parts = Object.values(this.metrics).map((part) => part.node);
      const head = el("div", { class: "e-lane-head" }, el("h3", {}, title), ...parts, this.prefill);
      this.node = el("section", { class: `e-lane e-lane-${name}` }, head, this.text.box);
    }

    draw(lane, speedup, selected) {
      this.metrics.clock.set(number(lane.started ? lane.clock : NaN));
      this.metrics.rate.set(number(lane.rate, lane.rate < 10 ? 1 : 0));
      this.metrics.length?.set(number(lane.meanAcceptedLength));
      this.metrics.speedup?.set(Number.isFinite(speedup) ? `${number(speedup)}x` : "–");
      setText(this.prefill, lane.prefill === null ? "" : `prefill ${seconds(lane.prefill)}`);
      this.text.draw(lane, selected);
    }
  }

  function waiting({ place, seconds: wait }) {
    if (!place) return "preparing...";
    const about = Number.isFinite(wait) ? `, about ${Math.ceil(wait)} s` : "";
    return `waiting for the device: place ${place}${about}`;
  }

  const progress = ({ round, written }) => (round ? `round ${round.number}, ${plural(written, "token")}` : "preparing...");

  function statusOf(state) {
    const { phase } = state;
    if (phase === "queued") return waiting(state.queue);
    if (phase === "running") return progress(state.lanes.eesd);
    if (phase === "finished") return state.verdict || "finished";
    return state.verdict;
  }

  const SIGNS = { finished: "=", cancelled: "■" };
  const VERDICTS = { true: "=", false: "≠", null: "≈" };
  const signOf = (state) => (state.result ? VERDICTS[state.result.identical] : (SIGNS[state.phase] ?? ""));

  // What a screen reader hears once, at the end, instead of the stream of tokens.
  function announcement(state) {
    if (state.phase !== "finished" && state.phase !== "cancelled") return "";
    const { eesd, vanilla } = state.lanes;
    const speed = Number.isFinite(state.speedup) ? ` Speedup ${number(state.speedup)} ${AGAINST}.` : "";
    return `Run over: ${statusOf(state)}. EESD ${number(eesd.rate, 0)} tokens per second, vanilla ${number(vanilla.rate, 0)}.${speed}`;
  }

  class Race {
    // `select` is told the token that was clicked, and whether it is EESD's.
    constructor(tip, select) {
      this.lanes = { eesd: new LaneView("eesd", "EESD", tip, select), vanilla: new LaneView("vanilla", "Vanilla", tip, select) };
      this.toggle = el("input", { type: "checkbox" });
      this.sign = el("span", { class: "e-sign", "aria-hidden": "true" });
      this.status = el("span", { class: "e-status-text" });
      this.live = el("div", { class: "e-hidden", role: "status", "aria-live": "polite" });
      this.line = el("div", { class: "e-status" }, this.sign, this.status);
      const toggle = el("label", { class: "e-toggle" }, this.toggle, " hide rejected drafts");
      const head = el("div", { class: "e-panel-head" }, el("h2", {}, "The race"), legend(), toggle);
      this.node = el("section", { class: "e-panel e-race", "aria-label": "the race" },
        head, this.lanes.eesd.node, this.lanes.vanilla.node, this.line, this.live);
      this.toggle.addEventListener("change", () => this.hideRejected(this.toggle.checked));
    }

    hideRejected(hide) {
      const { text } = this.lanes.eesd;
      text.box.classList.toggle("e-hide-rejected", hide);
      if (text.following) text.toEnd();
    }

    reset() {
      for (const lane of Object.values(this.lanes)) lane.text.reset();
    }

    draw(state, selected) {
      for (const [name, lane] of Object.entries(this.lanes)) lane.draw(state.lanes[name], state.speedup, name === "eesd" && selected);
      this.line.dataset.phase = state.phase;
      this.line.dataset.differs = String(state.result?.identical === false);
      setText(this.sign, signOf(state));
      setText(this.status, statusOf(state));
      setText(this.live, announcement(state));
    }
  }

  Object.assign(window.EESD, { Race, statusOf });
})();
