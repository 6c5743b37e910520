// Updates the page's title bar: where a recorded run was made, or a live run's model, precision and promise. The visitor may have chosen another
// model, precision or acceptance rule than the host's.
import { recordedWhere } from "../lib/citation.js";
import { setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const said = (text) => say.page.form[text] ?? text;
const put = (selector, text) => setText(document.querySelector(selector), text);

export class Title {
  // `host`: {model, level, device, dtype} of the server's model; `levels`: name and hint of every level of exactness.
  constructor(view, { host, levels }) {
    Object.assign(this, { name: "title", view, host, levels });
  }

  draw() {
    const { recording, player } = this.view;
    if (recording) return put(".eesd-where", recordedWhere(recording));
    const run = player.timeline.records.find(({ type }) => type === "run_started");
    const { model, level, device, dtype } = run ?? this.host;
    const [name, hint] = this.levels[level];
    put(".eesd-model-live", model);
    put(".eesd-where-live", `${device} ${dtype}`);
    put(".eesd-level > b", said(name));
    put(".eesd-level .eesd-hint", said(hint));
  }
}
