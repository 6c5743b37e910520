// Follow along, on the presenter's page: opens a room, sends it what this page shows, and asks the room about the next round.
import { isBeta, meanOf } from "../lib/beta.js";
import { button, dialog, el, panelHead, setText } from "../lib/elements.js";
import { ndjson } from "../lib/exports.js";
import { MOST_COUNT, answersOf, tally } from "../lib/quiz.js";
import { post } from "../lib/server.js";
import { say } from "../lib/words.js";

const words = say.room;
const EVERY = 500; // milliseconds between two checks for news
const PULSE = 10_000; // milliseconds after which an update is sent even if nothing changed
const LOCAL = /^(localhost|127\..*|\[::1\])$/; // phones cannot reach these hosts
const MOST_PART = 100_000; // characters of a run that are sent at once

// The next round with drafts after the playhead: the indices of the records that begin and judge it; null if there is none yet.
function nextRound({ records, cursor }) {
  let begins = null;
  for (let i = cursor; i < records.length; i += 1) {
    const { lane, type, drafted } = records[i];
    if (lane !== "eesd") continue;
    if (type === "round_started") begins = i;
    if (type === "round_verified" && begins !== null && drafted) return { begins, judged: i };
  }
  return null;
}

export class Room {
  // `at(name)`: server addresses; `link(code)`: the address of the page for phones; `qr(link)`: its QR code.
  constructor(view, { at, link, qr }) {
    Object.assign(this, { name: "room", view, at, link, qr, room: null, run: 0, question: null, asked: 0, scores: { room: 0, guess: 0 } });
    this.line = el("p", { class: "r-line", role: "status" });
    this.address = el("a", { class: "r-link", target: "_blank", rel: "noopener" });
    this.code = el("b", { class: "r-code" });
    const kinds = ["accepted", "count"].map((kind) => button(words.ask[kind], () => this.ask(kind), `r-ask-${kind}`));
    this.show = button(words.reveal, () => this.reveal(), "r-reveal", { hidden: "" });
    this.close = button(words.close, () => this.leave(), "r-close");
    this.tally = el("div", { class: "r-tally" });
    this.large = dialog("e-dialog r-large", { "aria-label": words.qr });
    this.local = el("span", { class: "e-hint-line", hidden: "" }, words.local);
    this.invitation = el("div", { class: "r-invitation" }, el("p", {}, words.join, " ", this.address, this.code, this.local));
    const head = panelHead(words.title, el("span", { class: "t-group" }, ...kinds, this.show, this.close));
    const body = el("div", { class: "r-body" }, this.invitation, this.tally);
    this.node = el("section", { class: "e-panel r-panel", "aria-label": words.title, hidden: "" }, head, this.line, body, this.large);
  }

  // ---- the room ----

  async open() {
    this.view.reveal(this.node);
    if (this.room) return;
    this.node.hidden = false;
    this.say(words.opening);
    try {
      this.room = await post(this.at("room/open"), {});
    } catch (problem) {
      return this.say(problem.message);
    }
    Object.assign(this, { run: 0, timeline: null, told: "", toldAt: 0, asked: 0, scores: { room: 0, guess: 0 } });
    const link = this.link(this.room.code);
    const code = (size) => el("img", { class: "r-qr", width: size, height: size, alt: words.qr, src: this.qr(link) });
    this.picture = button(code(132), () => this.enlarge(code(600), link), "r-picture", { title: words.larger });
    this.invitation.prepend(this.picture);
    this.address.href = link;
    setText(this.address, link.replace(/^https?:\/\//, ""));
    this.local.hidden = !LOCAL.test(new URL(link).hostname);
    setText(this.code, this.room.code);
    this.say(words.phones(0));
    this.loop();
  }

  // The last row of a lecture hall cannot read the small code.
  enlarge(code, link) {
    const close = button(say.keys.close, () => this.large.close());
    this.large.replaceChildren(code, el("p", {}, link.replace(/^https?:\/\//, "")), close);
    this.large.showModal();
  }

  async loop() {
    const { room } = this;
    while (this.room === room) {
      try {
        await this.tell();
      } catch (problem) {
        this.say(problem.message);
        if (problem.refused) return this.forget(); // the room no longer exists on the server
      }
      await new Promise((next) => setTimeout(next, EVERY));
    }
  }

  // Sends news to the room, if there is any: the run's lines in parts, the playhead, the question.
  async tell() {
    const { view, room, question } = this;
    const { player } = view;
    if (this.timeline !== player.timeline) Object.assign(this, { timeline: player.timeline, run: this.run + 1, offset: 0, recorded: "" });
    const text = this.text;
    const { timeline, time, speed, playing, live } = player;
    const place = { cursor: timeline.cursor, time, speed, playing, live, round: view.chosen };
    const news = JSON.stringify([this.run, text.length, { ...place, time: playing || live ? 0 : time }, question]);
    if (news === this.told && performance.now() < this.toldAt + PULSE) return;
    const part = text.slice(this.offset, this.offset + MOST_PART);
    const { key, code } = room;
    const heard = await post(this.at("room/say"), { code, key, run: this.run, offset: this.offset, text: part, place, question });
    if (this.room !== room) return;
    if (heard.run === this.run) this.offset = heard.length;
    Object.assign(this, { told: this.offset < text.length ? "" : news, toldAt: performance.now() });
    this.say(words.phones(heard.phones));
    this.count(heard.answers);
  }

  get text() {
    const { recording, player, stream } = this.view;
    if (!recording) return stream.consumed;
    this.recorded ||= ndjson({ head: recording, records: player.timeline.records });
    return this.recorded;
  }

  async leave() {
    const { room } = this;
    this.forget();
    this.node.hidden = true;
    if (room) await post(this.at("room/close"), room).catch(() => {}); // an unreachable room closes by itself
  }

  forget() {
    this.picture?.remove();
    Object.assign(this, { room: null, question: null });
    this.show.hidden = true;
    this.tally.replaceChildren();
  }

  say(text) {
    setText(this.line, text);
  }

  // ---- questions ----

  // Moves to the beginning of the next round, so that nobody sees its outcome, and asks.
  ask(kind) {
    const { player } = this.view;
    const round = this.room && nextRound(player.timeline);
    if (!round) return this.say(words.noRound);
    player.pause();
    player.moveTo(round.begins + 1);
    player.time = player.timeline.time;
    this.round = round;
    this.question = { id: (this.asked += 1), kind, choices: kind === "accepted" ? 2 : MOST_COUNT + 1 };
    this.show.hidden = false;
    this.count([]);
  }

  reveal() {
    const { player } = this.view;
    const { accepted, drafted } = player.timeline.records[this.round.judged];
    const { posterior } = player.timeline.records[this.round.begins];
    const belief = isBeta(posterior) ? meanOf(posterior) : null;
    const { kind } = this.question;
    const truth = kind === "accepted" ? Number(accepted > 0) : Math.min(accepted, MOST_COUNT);
    const guess = kind === "accepted" ? Number(belief === null || belief >= 0.5) : Math.min(drafted, MOST_COUNT); // it expects its drafts to hold
    this.question = { ...this.question, truth, guess, belief };
    this.scores.guess += Number(guess === truth);
    this.scores.room += Number(answersOf(this.counts).includes(truth));
    player.moveTo(this.round.judged + 1);
    player.time = player.timeline.time;
    this.show.hidden = true;
    this.count(this.counts);
  }

  count(counts) {
    this.counts = counts;
    if (!this.question) return;
    const score = "truth" in this.question ? words.score(this.scores.room, this.scores.guess, this.asked) : "";
    this.tally.replaceChildren(tally(this.question, counts), el("p", { class: "r-score" }, score));
  }
}
