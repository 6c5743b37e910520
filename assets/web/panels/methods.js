// A race of several methods: vanilla and up to four others write the same text; their lanes share one axis of computing time. Until one is run,
// the panel shows a recorded race and says so.
import { el, setText } from "../lib/elements.js";
import { whenSeen } from "../lib/frames.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";
import { Lanes, percent } from "./lanes.js";
import { Study } from "./study.js";

const words = say.methods;
const USUAL = ["throughput", "beta", "prompt-lookup", ""];
const PLAIN = "vanilla";
const nameOf = (name) => words.names[name] ?? name;
const { own, controllers } = say.drafters;
export const aboutMethod = (name) => own[name]?.join(" ") ?? controllers[name?.split(":")[0]] ?? "";

export class Methods {
  // `recorded`: address of the recording. `offered`: methods that the server knows.
  constructor({ path, recorded, form, offered }) {
    const asked = () => ({ ...form(), methods: this.chosen });
    this.study = new Study({ name: "methods", words, path, form: asked, see: (line) => this.see(line) });
    this.name = "methods";
    this.selects = USUAL.map((usual, i) => this.select(i, usual, offered));
    this.lanes = new Lanes(words.title);
    this.node = this.study.node;
    const choice = el("div", { class: "m-choice" }, el("span", {}, words.against), ...this.selects);
    this.missing = el("p", { class: "e-hint-line", hidden: "" });
    const about = [...new Set(offered.map((name) => name.split(":")[0]))].flatMap((name) => [el("dt", {}, name), el("dd", {}, aboutMethod(name))]);
    const list = el("details", { class: "m-about" }, el("summary", {}, words.about), el("dl", {}, ...about));
    this.study.line.before(choice, this.missing, list);
    this.source = el("p", { class: "m-recorded", hidden: "" });
    this.node.append(this.source, this.lanes.node, this.lanes.table);
    whenSeen(this.node, () => this.showRecorded(recorded));
  }

  async showRecorded(address) {
    const answer = await fetch(address).catch(() => null);
    if (!answer?.ok) return;
    const [head, ...lines] = (await answer.text()).trim().split("\n").map((line) => JSON.parse(line));
    if (this.lanes.rows.size) return; // the button was pressed meanwhile
    const starts = lines.filter(({ type }) => type === "run_started");
    this.begin(starts.map(({ lane }) => lane));
    setText(this.source, words.recorded(head, starts[0]));
    this.source.hidden = false;
    for (const line of lines) this.lanes.see(line);
    this.finish(lines.at(-1).rows);
  }

  select(i, usual, offered) {
    const options = ["", ...offered].map((name) => el("option", { value: name }, name ? nameOf(name) : words.none));
    const node = el("select", { class: "e-select", "aria-label": words.method(i + 1) }, ...options);
    node.value = usual;
    return node;
  }

  // Leaves out methods whose head the chosen model lacks, and says so in a sentence.
  offer(lacking, missing) {
    for (const option of this.selects.flatMap(({ options }) => [...options])) option.disabled = lacking.includes(option.value);
    for (const select of this.selects) if (lacking.includes(select.value)) select.value = "";
    setText(this.missing, missing);
    this.missing.hidden = !missing;
  }

  // The chosen methods in order, without repeats.
  get chosen() {
    return [...new Set(this.selects.map(({ value }) => value).filter(Boolean))];
  }

  see(line) {
    if (line.type === "table") {
      this.finish(line.rows);
      return this.study.say(words.finished);
    }
    if (line.type === "run_started" && line.lane === PLAIN) {
      this.begin([PLAIN, ...this.chosen]);
      this.source.hidden = true;
      this.study.say(words.running);
    }
    this.lanes.see(line);
  }

  begin(names) {
    this.lanes.begin(names.map((name) => [name, nameOf(name), name === PLAIN]));
  }

  finish(rows) {
    const best = Math.max(...rows.map(({ speedup }) => speedup));
    const lines = rows.map((row) => {
      const { name, seconds, tokens_per_second: rate, speedup, tokens_per_round: length, acceptance_rate: accepted } = row;
      const gain = el("td", { class: speedup === best ? "w-best" : "" }, `${number(speedup)}x`);
      return [nameOf(name), number(seconds), number(rate, 0), gain, number(length), percent(accepted), words.texts(row)];
    });
    this.lanes.finish(words.columns, lines);
  }
}
