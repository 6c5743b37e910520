// The view of a run: it holds the records, the playhead, and the panels that show them. feed() shows the growing text of a live run, open() a
// recorded one. stage.js adds the panels.
import { el } from "./elements.js";
import { soon, wantsLessMotion } from "./frames.js";
import { Pace, patient } from "./pace.js";
import { Player } from "./player.js";
import { verdictOf } from "./status.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";

// Where a panel can be placed.
const PLACES = {
  title: (view, node) => (view.options.toolbar ?? view.root).prepend(node),
  top: (view, node) => view.stage.before(node),
  main: (view, node) => view.side.before(node),
  race: (view, node) => view.panels.race.line.append(node), // below its lanes, beside the verdict
  side: (view, node) => view.side.append(node),
  next: (view, node) => view.more.before(node), // below race and side, as wide as both
  more: (view, node) => view.more.append(node),
  below: (view, node) => view.root.append(node),
  over: (view, node) => view.root.append(node), // tips and dialogs
};

// Why a run was refused before it began; such a text is a single error line.
function refusalOf(text) {
  if (!text.startsWith('{"type": "error"') || text.indexOf("\n") !== text.length - 1) return "";
  return JSON.parse(text).message;
}

export class View {
  // `options.toolbar`: the place for buttons beside the page's title; `options.link()`: the page's address with the values of its form;
  // `options.history()`: the form's earlier turns of a conversation.
  constructor(root, options = {}) {
    Object.assign(this, { root, options, panels: {}, charts: [], chosen: null, pointed: null, refused: "" });
    this.side = el("div", { class: "e-side" });
    this.more = el("div", { class: "e-more" });
    this.stage = el("div", { class: "e-stage" }, this.side, this.more);
    this.root.classList.add("eesd");
    this.root.append(this.stage);
    this.stream = new Stream();
    this.player = new Player(() => this.request());
    this.pace = new Pace(
      [],
      () => this.waiting,
      () => this.player.dragged,
    );
    this.link = { choose: (round) => this.choose(round), point: (round) => this.point(round) };
  }

  // A panel has a name, a node, and any of these:
  //   charts      drawn in turn, a few times a second
  //   draw(state) called whenever something changed; with `patient`, in turn with the charts
  //   settle()    may read the layout: called after everything of a frame has been drawn
  //   mark(chosen, pointed)  highlight these two rounds, as the text and all charts do
  //   look()      a round was chosen: show it at once
  //   measure()   the type size has changed
  //   reset()     another run begins
  add(panel, place) {
    this.panels[panel.name] = panel;
    if (place) PLACES[place](this, panel.node);
    if (panel.patient) this.pace.works.push(patient(panel.node, () => panel.draw(this.run)));
    for (const chart of panel.charts ?? []) this.addChart(chart);
    return panel;
  }

  addChart(chart) {
    this.charts.push(chart);
    this.pace.works.push(() => this.drawChart(chart));
    chart.onVisible = () => this.request();
  }

  // Calls a method on every panel that has it.
  each(method, ...values) {
    for (const panel of Object.values(this.panels)) panel[method]?.(...values);
  }

  // ---- runs ----

  // Shows a live run, given its whole text so far.
  feed(text) {
    const whole = text ?? "";
    if (this.stream.isDismissed(whole)) return;
    this.refused = refusalOf(whole); // then the page keeps what it shows
    if (this.refused) {
      this.draw();
      return this.reveal(this.panels.notices.alert); // on a phone it is below a long form
    }
    if (this.stream.isNewRun(whole) || (this.recording && whole)) this.reset();
    const records = this.stream.read(whole);
    records.forEach((record) => this.player.add(record));
    if (records.length) this.request();
  }

  // Opens a recorded run; its first line says where and when it was made. `start`: "playing", "paused" or "over".
  open(text, start) {
    const [recording, ...records] = new Stream().read(text);
    if (this.stream.consumed) this.stream.dismiss(); // the rest of a live run would overwrite it
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
    Object.assign(this, { recording, refused: "", chosen: null });
    this.player.load(new Timeline());
    this.each("reset");
    this.root.dispatchEvent(new CustomEvent("eesd-source", { detail: recording }));
  }

  get run() {
    return this.player.timeline.state;
  }

  get state() {
    return { ...this.run.summary(), verdict: verdictOf(this.run) };
  }

  // ---- text and charts, linked by rounds ----

  // Chooses a round by its number, counted from 1.
  choose(round) {
    if (round === null) return;
    this.chosen = round;
    this.each("look");
    this.request();
  }

  // Chooses no round: the panels show the one at the playhead.
  release() {
    this.chosen = null;
    this.request();
  }

  // The chosen round; null while the panels follow the playhead.
  get selected() {
    if (this.chosen === null) return null;
    const { rounds, round } = this.run.lanes.eesd;
    return rounds[this.chosen - 1] ?? round ?? null;
  }

  point(round) {
    if (round === this.pointed) return;
    this.pointed = round;
    this.mark();
  }

  mark() {
    const pointed = this.run.lanes.eesd.rounds[this.pointed - 1] ?? null;
    const { selected } = this;
    this.each("mark", selected, pointed);
    for (const chart of this.charts) chart.mark(selected?.number, pointed?.number);
  }

  // Goes to a panel and focuses it, so that people see or hear which one it is.
  visit({ node }) {
    this.reveal(node);
    node.setAttribute("tabindex", "-1");
    node.focus({ preventScroll: true });
  }

  // On a long way, panels that come into sight would grow and move the place that is scrolled to.
  reveal(node) {
    const isFar = Math.abs(node.getBoundingClientRect().top) > 2 * window.innerHeight;
    node.scrollIntoView({ block: "nearest", behavior: isFar || wantsLessMotion() ? "auto" : "smooth" });
  }

  // ---- drawing ----

  request() {
    if (this.waiting) return;
    this.waiting = true;
    soon(() => this.frame());
  }

  // Each frame draws either one chart or everything else, never both, so the playhead moves evenly however long the run is.
  frame() {
    this.waiting = false;
    if (this.pace.turn()) this.request();
    else this.draw();
  }

  draw() {
    const { phase, started } = this.run;
    this.root.dataset.phase = this.refused ? "failed" : phase;
    if (phase !== "queued") this.stage.hidden = !started; // while a run waits, the page keeps what it shows: nothing jumps
    for (const panel of Object.values(this.panels)) if (!panel.patient) panel.draw?.(this.run);
    this.mark();
    this.each("settle"); // last, so that there is one layout per frame
    this.pace.request();
  }

  // A chart out of sight is drawn when it comes into sight.
  drawChart(chart) {
    if (this.stage.hidden || !chart.visible) return false;
    chart.draw(this.run, this.player.timeline);
    return true;
  }

  // Draws all charts, for exporting them as pictures.
  drawAll() {
    for (const chart of this.charts) chart.draw(this.run, this.player.timeline);
  }

  // Presenter mode: large type, in full screen if the browser allows it.
  present(on = !this.presenting) {
    this.presenting = on;
    document.documentElement.toggleAttribute("data-presenting", on);
    this.root.classList.toggle("e-present", on);
    this.each("measure");
    if (on) this.root.scrollIntoView(); // wherever the page was scrolled to
    if (on)
      document.documentElement.requestFullscreen?.().catch(() => {}); // fails without a click or key press
    else if (document.fullscreenElement) document.exitFullscreen();
    this.request();
  }
}
