// The next request of a conversation, beside the race's verdict. It can be typed while the reply comes and sent once that is complete.
import { button, el, setText } from "../lib/elements.js";
import { turnsOf } from "../lib/turns.js";
import { say } from "../lib/words.js";

const words = say.conversation;

export class Reply {
  // `send(request, turns)`: asks for the reply to a request that follows these turns.
  constructor(view, send) {
    Object.assign(this, { name: "reply", view, onSend: send });
    this.box = el("textarea", { rows: "1", "aria-label": words.label, title: words.keys });
    this.button = button(words.send, () => this.send(), "e-send");
    this.line = el("p", { class: "e-reply-line", role: "status" });
    this.node = el("div", { class: "e-reply", hidden: "" }, this.box, this.button, this.line);
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // while composing, Enter ends a word in Chinese
      event.preventDefault();
      this.send();
    });
  }

  get started() {
    return this.view.player.timeline.records.find(({ type }) => type === "run_started");
  }

  // Whether both texts are complete.
  get isWhole() {
    return this.view.player.timeline.notes.some(({ type }) => type === "race_finished");
  }

  draw({ phase }) {
    const { isWhole, view } = this;
    const ended = phase === "cancelled" || phase === "failed";
    this.button.disabled = !isWhole;
    this.early = ended ? words.ended : words.early; // said only to one who tries to send
    if (this.line.textContent) setText(this.line, isWhole ? "" : this.early);
    if (phase === "queued") return; // keep what is being typed
    this.node.hidden = Boolean(view.recording) || !this.started?.settings.chat;
    this.box.placeholder = isWhole ? words.ready : ended ? words.ended : words.waiting;
  }

  send() {
    const request = this.box.value;
    if (!request.trim()) return;
    if (this.button.disabled) return setText(this.line, this.early);
    const { prompt, settings } = this.started;
    const committed = this.view.player.timeline.lanes.eesd.filter(({ type }) => type === "tokens_committed");
    const reply = committed.map(({ text }) => text).join("");
    this.box.value = "";
    this.button.disabled = true;
    this.onSend(request, [...(turnsOf(settings.history) ?? []), [prompt, reply]]);
  }
}
