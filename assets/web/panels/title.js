// Updates the page's title bar: a recorded run's model and where it was made, or a live run's model, precision and promise. The visitor may have
// chosen another model, precision or acceptance rule than the host's.
import { recordedWhere } from "../lib/citation.js";
import { setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const said = (text) => say.page.form[text] ?? text;

// A chip's text and, under the pointer, its hint.
function put(name, text, hint) {
  const chip = document.querySelector(`.eesd-${name}`);
  setText(chip.querySelector("b"), text);
  setText(chip.querySelector(".eesd-hint"), hint ?? "");
  chip.tabIndex = hint ? 0 : -1;
}

export class Title {
  // `host`: {model, level, device, dtype} of the server's model, with `level` null until it is loaded; `levels`: name and hint of every level
  // of exactness; `heads`: by model that visitors may choose.
  constructor(view, { host, levels, heads }) {
    Object.assign(this, { name: "title", view, host, levels, only: Object.keys(heads).length === 1 });
  }

  // Where the visitor cannot choose the model that was recorded, the page says which one Run starts.
  about(recording, run) {
    const other = this.only && run?.model !== this.host.model ? say.arrivals.live(this.host.model) : "";
    return [run?.model, recordedWhere(recording), other].filter(Boolean).join(", ");
  }

  // The server's model is loaded.
  learn({ name, level, device, dtype }) {
    this.host = { model: name, level, device, dtype };
    this.draw();
  }

  draw() {
    const { recording, player } = this.view;
    const run = player.timeline.records.find(({ type }) => type === "run_started");
    if (recording) return put("where", this.about(recording, run), say.models[run?.model]);
    const { model, level, device, dtype } = run ?? this.host;
    const [name, hint] = this.levels[level] ?? ["", ""];
    put("model-live", model, say.models[model]);
    put("where-live", `${device} ${dtype}`.trim());
    put("level", said(name), said(hint));
  }
}
