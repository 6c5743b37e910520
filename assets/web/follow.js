// The page of a phone in a room: it shows the presenter's view and follows the presenter's playhead. When the run is over the phone may look
// around on its own, and return.
import { page as given } from "./given.js";
import { button, el, setText } from "./lib/elements.js";
import { plotly } from "./lib/plotly.js";
import { named, tally } from "./lib/quiz.js";
import { inWords } from "./lib/refusals.js";
import { post } from "./lib/server.js";
import { say } from "./lib/words.js";
import { attach } from "./stage.js";

const words = say.room;
const MOVES = new Set([" ", "ArrowLeft", "ArrowRight", ",", ".", "x", "r"]); // keys of the playhead
const AGAIN = [1000, 2000, 4000, 8000]; // milliseconds before the next try to reach the server

const here = (name) => new URL(name, document.baseURI).href;
const code = (new URLSearchParams(window.location.search).get("code") ?? "").toUpperCase();

class Follower {
  constructor(view) {
    Object.assign(this, { view, text: "", place: null, phone: "", question: null, chosen: null, free: false, score: [0, 0] });
    this.line = el("p", { class: "r-line", role: "status" });
    this.back = button(words.back, () => this.comeBack(), "r-back", { hidden: "" });
    this.quiz = el("div", { class: "r-quiz" });
    this.name = "follower";
    this.node = el("section", { class: "e-panel r-panel", "aria-label": words.followTitle }, this.line, this.back, this.quiz);
    const { clock } = view.panels;
    this.controls = [clock.scrubber.bar, clock.scrubber.slider];
    for (const control of this.controls) control.addEventListener("pointerdown", () => this.leave());
    document.addEventListener("keydown", (event) => this.press(event), true);
  }

  get locked() {
    return !this.view.player.timeline.over;
  }

  press(event) {
    if (!MOVES.has(event.key.length === 1 ? event.key.toLowerCase() : event.key) || event.target.closest?.(".r-panel, button, select")) return;
    if (this.locked) event.stopImmediatePropagation();
    else this.leave();
  }

  leave() {
    if (this.locked) return;
    this.free = true;
    this.draw();
  }

  comeBack() {
    this.free = false;
    this.move();
    this.draw();
  }

  draw() {
    for (const control of this.controls) control.inert = this.locked;
    this.back.hidden = !this.free;
    setText(this.line, this.problem || (this.free ? words.alone : this.text ? words.following : words.waiting));
  }

  // ---- the server's lines ----

  async listen() {
    for (let tries = 0; ; tries += 1) {
      try {
        await this.read();
        if (this.closed) break;
        tries = 0;
      } catch (problem) {
        this.tell(problem.message);
        if (problem.refused) return;
      }
      await new Promise((next) => setTimeout(next, AGAIN[Math.min(tries, AGAIN.length - 1)]));
    }
    this.tell(words.closed);
    this.quiz.replaceChildren();
  }

  tell(problem) {
    this.problem = problem;
    this.draw();
  }

  async read() {
    const answer = await fetch(here(`room/follow?code=${encodeURIComponent(code)}`)).catch(() => {
      throw new Error(words.lost);
    });
    if (!answer.ok) throw new Error(words.lost);
    this.tell("");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read().catch(() => {
        throw new Error(words.lost);
      });
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) this.take(JSON.parse(line));
      this.show();
    }
  }

  take({ refused, you, run, text, place, question, closed }) {
    if (refused) throw Object.assign(new Error(inWords(refused)), { refused });
    if (you) this.phone = you;
    if (run !== undefined && run !== this.run) Object.assign(this, { run, fresh: true, free: false });
    if (run !== undefined) this.text = "";
    if (text) Object.assign(this, { text: this.text + text, grown: true });
    if (place !== undefined) this.place = place;
    if (question !== undefined) this.ask(question);
    if (closed) this.closed = true;
  }

  show() {
    const { view } = this;
    if (this.fresh) view.dismiss();
    const recorded = this.text.startsWith('{"type":"recording"'); // exactly as the presenter's page writes it
    if (this.grown && recorded) view.open(this.text, "paused");
    else if (this.grown) view.feed(this.text);
    Object.assign(this, { fresh: false, grown: false });
    if (!this.free) this.move();
    this.draw();
  }

  // Moves the playhead to the presenter's.
  move() {
    const { view, place } = this;
    const { player } = view;
    const { timeline } = player;
    if (!place || !timeline.records.length) return;
    view.panels.clock.scrubber.setSpeed(place.speed);
    if (place.live) player.follow();
    else if (place.playing) {
      if (!player.playing) player.seek(place.time);
      player.play();
    } else {
      player.pause();
      player.moveTo(Math.min(place.cursor, timeline.records.length));
      player.time = place.time;
    }
    if (place.round === view.chosen) return;
    if (place.round) view.choose(place.round);
    else view.release();
  }

  // ---- questions ----

  ask(question) {
    const before = this.question;
    this.question = question;
    if (!question) return this.quiz.replaceChildren();
    if (question.id !== before?.id) this.chosen = null;
    if (question.truth !== undefined) return this.reveal(question, before);
    if (question.id === before?.id) return;
    const answers = Array.from({ length: question.choices }, (_, choice) =>
      button(named(question.kind, choice), () => this.answer(choice), "r-answer", { "aria-pressed": "false" }),
    );
    this.quiz.replaceChildren(el("p", { class: "r-asked" }, words.questions[question.kind]), el("div", { class: "r-answers" }, ...answers));
  }

  async answer(choice) {
    const { phone, question } = this;
    try {
      await post(here("room/answer"), { code, phone, question: question.id, choice });
    } catch (problem) {
      return setText(this.line, problem.message);
    }
    this.chosen = choice;
    [...this.quiz.querySelectorAll(".r-answer")].forEach((node, i) => node.setAttribute("aria-pressed", String(i === choice)));
  }

  reveal(question, before) {
    const news = before?.id !== question.id || before.truth === undefined;
    if (news && this.chosen !== null) this.score = [this.score[0] + Number(this.chosen === question.truth), this.score[1] + 1];
    const mine = this.chosen === null ? "" : words.mine(this.chosen === question.truth, ...this.score);
    this.quiz.replaceChildren(tally(question, question.counts), el("p", { class: "r-score" }, mine));
  }
}

function title() {
  const theme = el("button", { type: "button", class: "s-theme", title: words.theme, "aria-label": words.theme }, "◐");
  theme.addEventListener("click", () => document.body.classList.toggle("dark"));
  const mode = el("span", { class: "s-chip s-mode" }, words.room(code));
  document.querySelector(".s-title").replaceChildren(el("h1", {}, "EESD Live"), mode, theme);
}

function loadPlotly() {
  plotly.isComing = true;
  const script = el("script", { src: here(given.plotly) });
  script.onload = script.onerror = () => {
    plotly.isComing = false;
    view.pace.request();
  };
  document.head.append(script);
}

if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("dark");
title();
export const view = attach(document.querySelector(".eesd"));
export const follower = view.add(new Follower(view), "top");
follower.listen();
loadPlotly();
