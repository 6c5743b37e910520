// Work on the device that is not a run: one POST, answered line by line. Closing the connection stops it. A study is a panel with a button, a
// status line, and whatever its owner adds.
import { button, el, panelHead, setText } from "../lib/elements.js";
import { inWords } from "../lib/refusals.js";
import { waiting } from "../lib/status.js";
import { say } from "../lib/words.js";

const words = say.studies;

export class Study {
  // `words`: title, start, note. `path`: address on the server. `form()`: values by name. `see(line)` gets every line not about the queue.
  constructor({ name, words: own, path, form, see }) {
    Object.assign(this, { own, path, form, see, abort: null });
    this.button = button(own.start, () => (this.abort ? this.stop() : this.start()), "s-start");
    this.line = el("p", { class: "s-line", role: "status" });
    const note = el("p", { class: "e-hint-line" }, own.note);
    const look = `e-panel s-panel s-${name}`;
    this.node = el("section", { class: look, "aria-label": own.title }, panelHead(own.title, this.button), note, this.line);
  }

  say(text) {
    setText(this.line, text);
  }

  stop() {
    this.abort?.abort();
    this.say(words.stopped());
  }

  async start() {
    this.abort = new AbortController();
    setText(this.button, words.stop);
    this.say(words.preparing);
    try {
      await this.follow(this.abort.signal);
    } catch {
      if (!this.abort.signal.aborted) this.say(words.lost);
    } finally {
      this.abort = null;
      setText(this.button, this.own.start);
    }
  }

  async follow(signal) {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.path, { method: "POST", headers, body: JSON.stringify(this.form()), signal });
    if (!answer.ok) throw new Error(answer.statusText);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      lines
        .filter(Boolean)
        .map((line) => JSON.parse(line))
        .forEach((line) => this.take(line));
    }
  }

  take(line) {
    if (line.type === "queue") this.say(waiting(line));
    else if (line.type === "stopped") this.say(words.stopped(line.message));
    else if (line.type === "error") this.say(inWords(String(line.message)));
    else this.see(line);
  }
}
