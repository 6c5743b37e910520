// The benchmark on the page: the latest report, and a small one run live. A report is shown in a frame without an origin, so its scripts
// cannot reach the page.
import { button, el, setText } from "../lib/elements.js";
import { whenSeen } from "../lib/frames.js";
import { say } from "../lib/words.js";
import { Study } from "./study.js";

const words = say.benchmark;
const SANDBOX = { sandbox: "allow-scripts", class: "s-frame" };

export class Benchmark {
  // `at(name)`: server addresses. Without `live`, reports are only shown.
  constructor({ at, form, live }) {
    Object.assign(this, { name: "benchmark", at });
    this.study = new Study({ name: "benchmark", words, path: at("benchmark"), form, see: (line) => this.see(line) });
    this.study.button.hidden = !live;
    this.about = el("span", {});
    this.toggle = button(words.show, () => this.showLatest(), "", { hidden: "" });
    this.link = el("a", { href: at("latest.html"), target: "_blank", rel: "noopener", hidden: "" }, words.open);
    this.stage = el("div");
    this.node = this.study.node;
    this.node.append(el("p", { class: "s-latest" }, this.about, this.toggle, this.link), this.stage);
    whenSeen(this.node, () => this.ask());
  }

  async ask() {
    const facts = await fetch(this.at("latest"))
      .then((answer) => answer.json())
      .catch(() => null);
    setText(this.about, facts ? words.latest(facts) : words.none);
    this.toggle.hidden = this.link.hidden = !facts;
  }

  showLatest() {
    if (this.shows === "latest") return this.frame(null);
    this.frame({ src: this.at("latest.html") });
    this.shows = "latest";
    setText(this.toggle, words.hide);
  }

  frame(source) {
    this.shows = null;
    setText(this.toggle, words.show);
    this.stage.replaceChildren(...(source ? [el("iframe", { ...SANDBOX, title: words.frame, ...source })] : []));
  }

  see(line) {
    if (line.type === "bench") return this.study.say(words.progress(line.done, line.total, line.seconds, line.doing));
    this.study.say(words.finished);
    this.frame({ srcdoc: line.html });
  }
}
