// The race: two lanes with their clocks, the legend of token states, and the line that says where the run stands.
(() => {
  "use strict";
  const { el, number, setText, words: { race: words, states } } = window.EESD;

  // The legend shows each state as a token in that state.
  const legend = () =>
    el("div", { class: "e-legend", role: "group", "aria-label": words.legend },
      ...window.EESD.STATES.map((state) => window.EESD.dress(el("span"), { state, text: states[state] })));

  const metric = (unit, extra = "") => {
    const value = el("b", {}, "–");
    const node = el("span", { class: `e-metric ${extra}` }, value, ` ${unit}`);
    return { node, set: (text) => setText(value, text) };
  };

  class LaneView {
    constructor(name, tip, { choose, point }) {
      const title = words.lanes[name];
      const own = name === "eesd";
      this.metrics = { clock: metric(words.units.clock, "e-clock-time"), rate: metric(words.units.rate) };
      if (own) Object.assign(this.metrics, { length: metric(words.units.length), speedup: metric(words.against, "e-speedup") });
      this.prefill = el("span", { class: "e-metric e-prefill", title: words.prefillHint });
      this.text = new window.EESD.LaneText(tip, words.text(title), { choose: (token) => choose(token, own), point: (token) => point(token, own) });
      const parts = Object.values(this.metrics).map((part) => part.node);
      const head = el("div", { class: "e-lane-head" }, el("h3", {}, title), ...parts, this.prefill);
      this.node = el("section", { class: `e-lane e-lane-${name}` }, head, this.text.box);
    }

    draw(lane, speedup) {
      this.metrics.clock.set(number(lane.started ? lane.clock : NaN));
      this.metrics.rate.set(number(lane.rate, lane.rate < 10 ? 1 : 0));
      this.metrics.length?.set(number(lane.meanAcceptedLength));
      this.metrics.speedup?.set(Number.isFinite(speedup) ? `${number(speedup)}x` : "–");
      setText(this.prefill, lane.prefill === null ? "" : words.prefill(lane.prefill));
      this.text.draw(lane);
    }
  }

  function waiting({ place, seconds: wait, loading }) {
    if (place) return loading === undefined ? words.waiting(place, wait) : words.waitingForWeights(place, loading);
    return loading === undefined ? words.preparing : words.loading(loading);
  }

  const progress = ({ round, written }) => (round ? words.progress(round.number, written) : words.preparing);

  function statusOf(state) {
    const { phase } = state;
    if (phase === "queued") return waiting(state.queue);
    if (phase === "running") return progress(state.lanes.eesd);
    if (phase === "finished") return state.verdict || words.finished;
    return state.verdict;
  }

  const SIGNS = { finished: "=", cancelled: "■" };
  const VERDICTS = { true: "=", false: "≠", null: "≈" };
  const signOf = (state) => (state.result ? VERDICTS[state.result.identical] : (SIGNS[state.phase] ?? ""));

  // What a screen reader hears once, at the end, instead of the stream of tokens. Behind two lanes that are done the verdict is to come.
  function announcement(state) {
    const alone = state.phase === "finished" && !(state.lanes.eesd.started && state.lanes.vanilla.started);
    if (!state.result && !alone && state.phase !== "cancelled") return "";
    const { eesd, vanilla } = state.lanes;
    return words.over(statusOf(state), eesd.rate, vanilla.rate, state.speedup);
  }

  class Race {
    // `choose` and `point` are told the token that was clicked or is pointed at, and whether it is EESD's.
    constructor(tip, link) {
      this.lanes = { eesd: new LaneView("eesd", tip, link), vanilla: new LaneView("vanilla", tip, link) };
      this.toggle = el("input", { type: "checkbox" });
      this.sign = el("span", { class: "e-sign", "aria-hidden": "true" });
      this.status = el("span", { class: "e-status-text" });
      this.live = el("div", { class: "e-hidden", role: "status", "aria-live": "polite" });
      this.line = el("div", { class: "e-status" }, this.sign, this.status);
      const toggle = el("label", { class: "e-toggle" }, this.toggle, ` ${words.hide}`);
      const head = el("div", { class: "e-panel-head" }, el("h2", {}, words.title), legend(), toggle);
      this.node = el("section", { class: "e-panel e-race", "aria-label": words.title },
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

    // The chosen round's tokens; of the one that is pointed at, the tokens in both texts.
    mark(chosen, pointed) {
      const last = pointed && pointed.position + (pointed.outcome?.accepted ?? 0);
      const { eesd, vanilla } = this.lanes;
      eesd.text.mark(chosen?.tokens ?? [], pointed?.tokens ?? []);
      vanilla.text.mark([], pointed ? vanilla.text.tokens.filter(({ position }) => position >= pointed.position && position <= last) : []);
    }

    draw(state) {
      for (const [name, lane] of Object.entries(this.lanes)) lane.draw(state.lanes[name], state.speedup);
      this.line.dataset.phase = state.phase;
      this.line.dataset.differs = String(state.result?.identical === false);
      setText(this.sign, signOf(state));
      setText(this.status, statusOf(state));
      setText(this.live, announcement(state));
    }

    // Behind a change of the type's size, which may leave the boxes as large as they were.
    measure() {
      for (const lane of Object.values(this.lanes)) lane.text.measure();
    }

    settle() {
      for (const lane of Object.values(this.lanes)) lane.text.settle();
    }
  }

  Object.assign(window.EESD, { Race, statusOf, waiting });
})();
