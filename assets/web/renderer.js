// The view: EESD.mount builds it, view.feed shows the growing text of a run, view.open a recorded one; EESD.attach also follows theme
// and size.
(() => {
  "use strict";
  const EESD = window.EESD;
  const { el, swatch, words } = EESD;
  let views = 0;

  // Why a run was refused before it began: then its text is one error and nothing else.
  function refusalOf(text) {
    if (!text.startsWith('{"type": "error"') || text.indexOf("\n") !== text.length - 1) return "";
    return JSON.parse(text).message;
  }

  class View {
    constructor(root, options) {
      Object.assign(this, { root, options, pointed: null, refused: "" });
      views += 1;
      this.id = views;
      this.stream = new EESD.Stream();
      this.player = new EESD.Player(() => this.request());
      this.root.classList.add("eesd");
      this.build();
      EESD.keys.listen(EESD.keys.commands(this), (key) => (key === "Escape" ? this.presenting || this.tour.open : this.run.started));
      this.reset();
    }

    build() {
      const plotly = () => this.options.plotly ?? window.Plotly;
      const link = { choose: (round) => this.choose(round), point: (round) => this.point(round) };
      const chart = (name) => new EESD.Chart(name, EESD.figures[name], plotly, link);
      const states = (...kinds) => kinds.map((kind) => swatch(kind, words.states[kind]));
      this.alert = el("div", { class: "e-alert", role: "alert", hidden: "" });
      this.disturbed = el("p", { class: "e-disturbed", role: "note", hidden: "" });
      this.tip = new EESD.Tooltip(`eesd-tip-${this.id}`);
      this.race = new EESD.Race(this.tip, { choose: (token, own) => this.lookAt(token, own), point: (token, own) => this.point(token && this.roundOf(token, own)) });
      this.microscope = new EESD.Microscope(() => this.request());
      this.why = new EESD.Why(plotly, link);
      this.law = new EESD.Law(plotly, () => this.drawChart(this.law.chart));
      this.lossless = new EESD.Lossless();
      const { lengths: lengthWords, belief: beliefWords, positions: positionWords, contexts: contextWords } = words.charts;
      const [lengths, clock, belief, positions, contexts] = ["lengths", "clock", "belief", "positions", "contexts"].map(chart);
      this.charts = [this.why.chart, lengths, clock, belief, positions, contexts, this.law.chart];
      this.calibrated = swatch("dotted", contextWords.calibrated);
      this.contexts = contexts.panel(contextWords.title, this.calibrated, swatch("interval", beliefWords.keys[1]));
      const side = el("div", { class: "e-side" }, this.why.node,
        lengths.panel(lengthWords.title, ...states("accepted", "rejected", "untested", "correction", "bonus"), swatch("best", lengthWords.best, lengthWords.bestHint)));
      const more = el("div", { class: "e-more" },
        belief.panel(beliefWords.title, swatch("line", beliefWords.keys[0]), swatch("ribbon", beliefWords.keys[1]), swatch("draw", beliefWords.keys[2]), ...states("accepted", "rejected")),
        this.contexts, positions.panel(positionWords.title, swatch("interval", positionWords.interval)), this.law.node, this.lossless.node);
      this.stage = el("div", { class: "e-stage" }, this.race.node, this.clockPanel(clock), side, this.microscope.node, more);
      this.intro = new EESD.Intro();
      this.dialogs = { keys: EESD.keys.legend(), glossary: EESD.glossary() };
      this.tour = new EESD.Tour(this);
      this.toolbar = new EESD.Toolbar(this, this.options.link);
      this.root.prepend(this.alert, this.disturbed, this.intro.node, this.stage, this.tip.box, this.tour.card, ...Object.values(this.dialogs), this.toolbar.leave);
      (this.options.toolbar ?? this.root).prepend(this.toolbar.node);
      const microscope = EESD.patient(this.microscope.node, () => this.microscope.draw(this.run.lanes.eesd));
      const lossless = EESD.patient(this.lossless.node, () => this.lossless.draw(this.run));
      this.pace = new EESD.Pace([microscope, ...this.charts.map((own) => () => this.drawChart(own)), lossless], () => this.waiting, () => this.player.dragged);
      for (const own of this.charts) own.onVisible = () => this.request();
    }

    clockPanel(clock) {
      const { title, kinds } = words.charts.clock;
      this.scrubber = new EESD.Scrubber(this.player, { showKeys: () => this.dialogs.keys.showModal(), present: () => this.present() });
      const node = clock.panel(title, ...Object.entries(kinds).map(([kind, name]) => swatch(kind, name)));
      node.querySelector("h2").after(this.scrubber.bar);
      clock.frame.before(this.scrubber.slider);
      clock.frame.append(this.scrubber.head);
      return node;
    }

    // Large type for a talk, in full screen where the browser allows it.
    present(on = !this.presenting) {
      this.presenting = on;
      document.documentElement.toggleAttribute("data-presenting", on);
      this.root.classList.toggle("e-present", on);
      this.toolbar.leave.hidden = !on;
      this.race.measure();
      if (on) this.root.scrollIntoView(); // from wherever one was on the page
      if (on) document.documentElement.requestFullscreen?.().catch(() => {}); // needs a click or a key
      else if (document.fullscreenElement) document.exitFullscreen();
      this.request();
    }

    // A run as it comes: its whole text so far.
    feed(text) {
      const whole = text ?? "";
      if (this.stream.isDismissed(whole)) return;
      this.refused = refusalOf(whole); // then what is there stays
      if (this.refused) {
        this.draw();
        return this.reveal(this.alert); // below a long form, on a phone
      }
      if (this.stream.isNewRun(whole) || (this.recording && whole)) this.reset();
      const records = this.stream.read(whole);
      records.forEach((record) => this.player.add(record));
      if (records.length) this.request();
    }

    // A recorded run, whose first line says where and when it was made. `start`: "playing", "paused" or "over".
    open(text, start) {
      const [recording, ...records] = new EESD.Stream().read(text);
      if (this.stream.consumed) this.stream.dismiss(); // what still comes of a live run would wipe it away
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
      Object.assign(this, { recording, refused: "" });
      this.player.load(new EESD.Timeline());
      this.tip.hide();
      this.race.reset();
      this.microscope.reset();
      this.lossless.reset();
      this.root.dispatchEvent(new CustomEvent("eesd-source", { detail: recording }));
    }

    // ---- text and charts, linked by rounds ----

    // The round that a token belongs to; for a token of vanilla's the one that wrote its position.
    roundOf({ round, position }, own) {
      return own ? round : (this.run.lanes.eesd.rounds.findLast((other) => other.position <= position)?.number ?? null);
    }

    lookAt(token, own) {
      this.choose(this.roundOf(token, own));
      this.reveal(this.microscope.node);
    }

    reveal(node) {
      node.scrollIntoView({ block: "nearest", behavior: EESD.wantsLessMotion() ? "auto" : "smooth" });
    }

    choose(round) {
      if (round === null) return;
      this.microscope.select(round);
      this.microscope.draw(this.run.lanes.eesd); // at once, not when the charts have been drawn
    }

    point(round) {
      if (round === this.pointed) return;
      this.pointed = round;
      this.link();
    }

    link() {
      const pointed = this.run.lanes.eesd.rounds[this.pointed - 1] ?? null;
      this.race.mark(this.selected, pointed);
      for (const chart of this.charts) chart.mark(this.selected?.number, pointed?.number);
    }

    get run() {
      return this.player.timeline.state;
    }

    get state() {
      return this.run.summary();
    }

    // ---- drawing ----

    request() {
      if (this.waiting) return;
      this.waiting = true;
      EESD.soon(() => this.frame());
    }

    // A chart or everything else, never both in one frame: so the playhead moves evenly, however long the run.
    frame() {
      this.waiting = false;
      if (this.pace.turn()) this.request();
      else this.draw();
    }

    draw() {
      const { phase, started } = this.run;
      const error = this.refused || this.run.error;
      this.root.dataset.phase = this.refused ? "failed" : phase;
      if (phase !== "queued") this.showStage(started); // while a run waits, what is there stays: nothing jumps
      this.intro.draw(this.run);
      this.alert.hidden = !error;
      EESD.setText(this.alert, error);
      const disturbance = EESD.disturbanceOf(this.run.lanes.eesd);
      this.disturbed.hidden = !disturbance;
      if (disturbance) EESD.setText(this.disturbed, words.race.disturbed(disturbance));
      this.race.draw(this.run);
      this.why.draw(this.run);
      const arms = EESD.figures.armsOf(this.run.lanes.eesd);
      this.contexts.hidden = !arms.length;
      this.calibrated.hidden = !EESD.figures.byConfidence(arms);
      this.scrubber.draw(this.run, EESD.figures.axisOf(this.player.timeline));
      this.link();
      this.tour.draw();
      this.race.settle(); // last, and so one layout a frame
      this.why.settle();
      this.pace.request();
    }

    // The round that was picked, or null while the microscope follows the playhead.
    get selected() {
      return this.microscope.selected ? this.microscope.roundOf(this.run.lanes.eesd) : null;
    }

    showStage(show) {
      this.intro.node.hidden = show;
      this.stage.hidden = !show;
      this.toolbar.tour.disabled = !show;
    }

    // What is out of sight is drawn when it comes into sight.
    drawChart(chart) {
      if (this.stage.hidden || !chart.visible) return false;
      chart.draw(this.run, this.player.timeline);
      return true;
    }

    // For pictures of all charts.
    drawAll() {
      for (const chart of this.charts) chart.draw(this.run, this.player.timeline);
    }
  }

  const attached = new WeakMap();

  EESD.mount = (element, options = {}) => {
    EESD.language.speak();
    return new View(element, options);
  };

  // For a page with a theme and a changing width. Attaching twice gives the same view.
  EESD.attach = (element, options = {}) => {
    if (attached.has(element)) return attached.get(element);
    const view = EESD.mount(element, options);
    const redraw = () => view.pace.request();
    new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    new ResizeObserver(redraw).observe(element);
    document.addEventListener("load", redraw, true); // plotly.js may arrive after the run
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement && view.presenting) view.present(false); // Escape left full screen
    });
    attached.set(element, view);
    if (new URLSearchParams(window.location.search).get("present") === "1") view.present(true);
    return view;
  };
})();
