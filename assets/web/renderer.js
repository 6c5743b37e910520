// The view: EESD.mount builds it, view.feed shows the growing text of a run, EESD.attach also follows theme and size.
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
      this.build(plotly);
      this.pace = new EESD.Pace(() => this.drawCharts());
      this.reset();
    }

    build(plotly) {
      views += 1;
      this.root.classList.add("eesd");
      this.alert = el("div", { class: "e-alert", role: "alert", hidden: "" });
      this.tip = new EESD.Tooltip(this.root, `eesd-tip-${views}`);
      this.race = new EESD.Race(this.tip);
      this.why = new EESD.Why(plotly);
      const lengths = new EESD.Chart("lengths", EESD.figures.lengths, plotly);
      const clock = new EESD.Chart("clock", EESD.figures.clock, plotly);
      this.charts = [this.why.chart, lengths, clock];
      const side = el("div", { class: "e-side" }, this.why.node,
        panel("lengths", "Draft lengths", ["accepted", "rejected", "untested", "correction", "bonus"], lengths));
      this.stage = el("div", { class: "e-stage" }, this.race.node, side, panel("clock", "Clock", ["draft", "verify", "overhead"], clock));
      this.intro = new EESD.Intro();
      this.root.prepend(this.alert, this.intro.node, this.stage);
    }

    feed(text) {
      const whole = text ?? "";
      if (this.stream.isDismissed(whole)) return;
      if (this.stream.isNewRun(whole)) this.reset();
      const records = this.stream.read(whole);
      records.forEach((record) => this.run.apply(record));
      if (records.length) this.request();
    }

    dismiss() {
      this.stream.dismiss();
      this.reset();
    }

    reset() {
      this.stream.reset();
      this.run = new EESD.RaceState();
      this.tip.hide();
      this.race.reset();
      this.request();
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
      this.race.draw(this.run);
      this.why.draw(this.run);
      this.pace.request();
    }

    showStage(show) {
      this.intro.node.hidden = show;
      this.stage.hidden = !show;
    }

    drawCharts() {
      if (this.stage.hidden) return;
      for (const chart of this.charts) chart.draw(this.run);
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
