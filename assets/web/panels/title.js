// The page's title bar, which the server has made: where the recorded run was made; of a live run, in what precision, and what was promised. The
// visitor may have chosen another model or precision than the host's, or another rule.
import { recordedWhere } from "../lib/citation.js";
import { setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const said = (text) => say.page.form[text] ?? text;
const put = (selector, text) => setText(document.querySelector(selector), text);

export class Title {
  // `host`: {model, level, device, dtype} of the server's own model; `levels`: name and hint of every promise.
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
