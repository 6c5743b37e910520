// The view: EESD.mount builds it, view.feed shows the growing text of a run, view.open a recorded one; EESD.attach also follows theme
// and size.
(() => {
  "use strict";
  const EESD = window.EESD;
  const { el } = EESD;
  let views = 0;

  const key = (...kinds) =>
    el("span", { class: "e-key" }, ...kinds.map((kind) => el("span", {}, el("i", { class: `e-swatch e-fill-${kind}` }), kind)));
  const panel = (name, title, kinds, chart) =>
    el("section", { class: `e-panel e-${name}` }, el("div", { class: "e-panel-head" }, el("h2", {}, title), key(...kinds)), chart.box);

  class View {
    constructor(root, options) {
      this.root = root;
      const plotly = () => options.plotly ?? window.Plotly;
      this.stream = new EESD.Stream();
      this.player = new EESD.Player(() => this.request());
      this.build(plotly);
      this.pace = new EESD.Pace(this.charts.map((chart) => () => this.drawChart(chart)));
      this.reset();
    }

    build(plotly) {
      views += 1;
      this.root.classList.add("eesd");
      this.alert = el("div", { class: "e-alert", role: "alert", hidden: "" });
      this.tip = new EESD.Tooltip(this.root, `eesd-tip-${views}`);
      this.race = new EESD.Race(this.tip, (token, own) => this.lookAt(token, own));
      this.microscope = new EESD.Microscope(() => this.request());
      this.why = new EESD.Why(plotly);
      const lengths = new EESD.Chart("lengths", EESD.figures.lengths, plotly, (round) => this.microscope.select(round));
      const clock = new EESD.Chart("clock", EESD.figures.clock, plotly);
      this.charts = [this.why.chart, lengths, clock];
      const side = el("div", { class: "e-side" }, this.why.node,
        panel("lengths", "Draft lengths", ["accepted", "rejected", "untested", "correction", "bonus"], lengths));
      this.stage = el("div", { class: "e-stage" }, this.race.node, this.clockPanel(clock), side, this.microscope.node);
      this.intro = new EESD.Intro();
      this.root.prepend(this.alert, this.intro.node, this.stage);
    }

    clockPanel(clock) {
      const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : this.root.requestFullscreen());
      const list = EESD.keys.legend();
      this.scrubber = new EESD.Scrubber(this.player, { showKeys: () => list.showModal(), fullScreen });
      EESD.keys.listen(EESD.keys.commands(this.player, list, fullScreen), () => this.run.started);
      const node = panel("clock", "Clock", ["draft", "verify", "overhead"], clock);
      node.querySelector("h2").after(this.scrubber.bar);
      clock.box.before(this.scrubber.slider);
      node.append(this.scrubber.head, list);
      return node;
    }

    // A run as it comes: its whole text so far.
    feed(text) {
      const whole = text ?? "";
      if (this.stream.isDismissed(whole)) return;
      if (this.stream.isNewRun(whole) || (this.recording && whole)) this.reset();
      const records = this.stream.read(whole);
      records.forEach((record) => this.player.add(record));
      if (records.length) this.request();
    }

    // A recorded run, whose first line says where and when it was made. `start`: "playing", "paused" or "over".
    open(text, start) {
      const [recording, ...records] = new EESD.Stream().read(text);
      this.reset(recording);
      records.forEach((record) => this.player.add(record));
      if (start !== "over") this.player.seek(0);
      if (start === "playing") this.player.play();
    }

    dismiss() {
      this.stream.dismiss();
      this.reset();
    }

    reset(recording = null) {
      this.stream.reset();
      this.recording = recording;
      this.player.load(new EESD.Timeline());
      this.tip.hide();
      this.race.reset();
      this.microscope.reset();
      this.root.dispatchEvent(new CustomEvent("eesd-source", { detail: recording }));
    }

    // The round that a token belongs to; for a token of vanilla's the one that wrote its position.
    lookAt({ round, position }, own) {
      const writer = () => this.run.lanes.eesd.rounds.findLast((other) => other.position <= position)?.number ?? null;
      this.microscope.select(own ? round : writer());
      this.microscope.node.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }

    get run() {
      return this.player.timeline.state;
    }

    get state() {
      return this.run.summary();
    }

    request() {
      if (this.waiting) return;
      this.waiting = true;
      EESD.soon(() => this.draw());
    }

    draw() {
      this.waiting = false;
      const { phase, error, started } = this.run;
      this.root.dataset.phase = phase;
      if (phase !== "queued") this.showStage(started); // while a run waits, what is there stays: nothing jumps
      this.intro.draw(this.run);
      this.alert.hidden = !error;
      EESD.setText(this.alert, error);
      this.race.draw(this.run, this.selected);
      this.why.draw(this.run);
      this.microscope.draw(this.run.lanes.eesd);
      this.scrubber.draw(this.run, EESD.figures.axisOf(this.player.timeline));
      this.pace.request();
    }

    // The round that was picked, or null while the microscope follows the playhead.
    get selected() {
      return this.microscope.selected ? this.microscope.roundOf(this.run.lanes.eesd) : null;
    }

    showStage(show) {
      this.intro.node.hidden = show;
      this.stage.hidden = !show;
    }

    drawChart(chart) {
      if (!this.stage.hidden) chart.draw(this.run, this.player.timeline, this.selected);
    }
  }

  const attached = new WeakMap();

  EESD.mount = (element, options = {}) => new View(element, options);

  // For a page with a theme and a changing width. Attaching twice gives the same view.
  EESD.attach = (element, options = {}) => {
    if (attached.has(element)) return attached.get(element);
    const view = EESD.mount(element, options);
    const redraw = () => view.pace.request();
    new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    new ResizeObserver(redraw).observe(element);
    document.addEventListener("load", redraw, true); // plotly.js may arrive after the run
    attached.set(element, view);
    return view;
  };
})();
