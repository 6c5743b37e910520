// Notices above everything else: why a run was refused or failed, that its drafts were made worse on purpose, or that it shared its passes with
// other runs.
import { disturbanceOf } from "../lib/disturbance.js";
import { el, setText } from "../lib/elements.js";
import { inWords } from "../lib/refusals.js";
import { say } from "../lib/words.js";

export class Notices {
  constructor(view) {
    this.name = "notices";
    this.view = view;
    this.alert = el("div", { class: "e-alert", role: "alert", hidden: "" });
    this.disturbed = el("p", { class: "e-disturbed", role: "note", hidden: "" });
    this.shared = el("p", { class: "e-shared", role: "note", hidden: "" });
    this.node = el("div", {}, this.alert, this.disturbed, this.shared);
  }

  draw(state) {
    const error = this.view.refused || state.error;
    this.alert.hidden = !error;
    setText(this.alert, error && inWords(error));
    const disturbance = disturbanceOf(state.lanes.eesd);
    this.disturbed.hidden = !disturbance;
    if (disturbance) setText(this.disturbed, say.race.disturbed(disturbance));
    const texts = Number(Object.values(state.lanes).find(({ started }) => started)?.settings?.together?.texts);
    this.shared.hidden = !(texts > 1);
    if (texts > 1) setText(this.shared, say.race.shared(texts));
  }
}
