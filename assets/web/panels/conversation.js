// The conversation so far, above the race: earlier requests and replies as plain text. It is that of the run on the page or, before the first
// run, that of the form.
import { el } from "../lib/elements.js";
import { turnsOf } from "../lib/turns.js";
import { say } from "../lib/words.js";

const words = say.conversation;

const said = (who, look, text) => el("div", { class: `e-said ${look}` }, el("dt", {}, who), el("dd", {}, text));

export class Conversation {
  constructor(view) {
    Object.assign(this, { name: "conversation", view, shown: null });
    this.list = el("dl", { class: "e-turns", tabindex: "0", role: "group", "aria-label": words.title });
    this.node = el("section", { class: "e-panel e-conversation", "aria-label": words.title, hidden: "" }, this.list);
  }

  get turns() {
    const { lanes } = this.view.run;
    const lane = Object.values(lanes).find(({ started }) => started);
    return lane ? lane.settings.history : this.view.options.history?.();
  }

  draw() {
    const { turns } = this;
    if (turns === this.shown) return;
    this.shown = turns;
    const good = turnsOf(turns ?? []) ?? [];
    this.node.hidden = !good.length;
    const parts = good.flatMap(([request, reply]) => [said(words.you, "e-said-request", request), said(words.model, "e-said-reply", reply)]);
    this.list.replaceChildren(...parts);
    this.list.scrollTop = this.list.scrollHeight;
  }
}
