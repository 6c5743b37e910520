// Exports of a run, made in the browser from its records. eesd_core/export makes the same from a file; tests compare the two.
import { lanesOf, rowOf } from "./rounds.js";
import { language } from "./words.js";

// One line of pure ASCII without "<", so that it can stand inside a script.
const escaped = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
const lineOf = (record) => `${JSON.stringify(record).replace(/[<\u007f-\uffff]/g, escaped)}\n`;
export const ndjson = ({ head, records }) => [...(head ? [head] : []), ...records].map(lineOf).join("");

// ---- CSV: one row a round, without any text of the model ----

const fixed = (digits) => (value) => (value === null ? "" : value.toFixed(digits));
const plain = (value) => String(value ?? "");
const COLUMNS = {
  ...{ lane: plain, text: plain, round: plain, position: plain, start_s: fixed(6), end_s: fixed(6) },
  ...{ draft_ms: fixed(3), verify_ms: fixed(3), overhead_ms: fixed(3), limit: plain, drafted: plain, spine: plain, accepted: plain },
  ...{ rejected: plain, untested: plain, next: plain, stop: plain, alpha: fixed(4), beta: fixed(4), theta: fixed(4), token_ids: (ids) => ids.join(" ") },
};

export function csv({ records }) {
  const rounds = lanesOf(records).flatMap((lane) => lane.rounds.filter(({ committed, outcome, told }) => told || (committed && outcome)));
  const cells = rounds.map(rowOf).map((row) => Object.entries(COLUMNS).map(([name, spell]) => spell(row[name])));
  return [Object.keys(COLUMNS), ...cells].map((line) => `${line.join(",")}\n`).join("");
}

// ---- Chrome trace events, for ui.perfetto.dev ----

const [DRAFT, VERIFY, CONTROLLER] = [1, 2, 3];
const TRACKS = {
  eesd: [
    [DRAFT, "draft"],
    [VERIFY, "verify"],
    [CONTROLLER, "controller"],
  ],
  vanilla: [[VERIFY, "steps"]],
};
const micro = (seconds) => Math.round(1e6 * seconds);

// Writes the events of one lane, round after round.
class Process {
  constructor(lane, pid) {
    Object.assign(this, { lane, pid, own: lane.name === "eesd", out: [], arrows: 0 });
  }

  events() {
    const { name, row, rounds } = this.lane;
    this.name(0, "process_name", `${name}, own clock${row ? `, text ${row + 1}` : ""}`);
    for (const [track, title] of TRACKS[name]) this.name(track, "thread_name", title);
    for (const round of rounds) this.round(round);
    return this.out;
  }

  round(round) {
    if (round.told) return this.told(round);
    const start = micro(round.start);
    this.believe(start, round.posterior);
    const arrows = round.drafts.map((_, i) => this.draft(round, i));
    if (round.outcome) this.verify(round, start, arrows);
    if (round.committed) this.slice(this.own ? CONTROLLER : VERIFY, `round ${round.number}`, start, micro(round.end), { text: round.committed.text });
  }

  // Another program's round gets a slice only if its time was reported.
  told({ number, told: { drafted, accepted, text, seconds }, ...round }) {
    if (seconds === null) return;
    const [start, end] = [micro(round.start), micro(round.end)];
    this.count("draft length", start, drafted);
    this.count("accepted", start, accepted);
    this.slice(CONTROLLER, `round ${number}`, start, end, { text: text ?? "" });
  }

  // Returns the id of the arrow from this draft to its verify pass.
  draft({ start, drafts }, i) {
    const { position, text, probability: q, entropy, go, terms, t, parent = i - 1 } = drafts[i];
    const before = micro(i ? drafts[i - 1].t : start);
    this.slice(DRAFT, text, before, micro(t), { position, q, entropy, go, terms, parent: parent + 1 });
    this.arrows += 1;
    this.add("s", DRAFT, "verified by", before, { id: this.arrows, cat: "draft" });
    return this.arrows;
  }

  verify({ number, tokens, outcome, learned }, start, arrows) {
    const { drafted, accepted, next_kind: next, next_text: token, verify_seconds: seconds } = outcome;
    const now = micro(outcome.t);
    const began = now - Math.min(micro(seconds), now - start);
    this.slice(VERIFY, drafted ? `verify ${drafted + 1}` : "step", began, now, { round: number, drafted, accepted, next, token });
    for (const id of arrows) this.add("f", VERIFY, "verified by", began, { id, cat: "draft", bp: "e" });
    const rejected = tokens.findIndex(({ state }) => state === "rejected");
    if (rejected >= 0) this.add("i", VERIFY, "rejection", now, { s: "t", args: { draft: rejected + 1 } });
    if (this.own) {
      this.count("draft length", start, drafted);
      this.count("accepted", start, accepted);
    }
    if (learned) this.believe(now, learned);
  }

  believe(now, { alpha, beta }) {
    if (alpha && beta) this.count("belief", now, alpha / (alpha + beta));
  }

  count(name, now, value) {
    this.add("C", 0, name, now, { args: { [name]: value } });
  }

  slice(tid, name, start, end, args) {
    this.add("X", tid, name || "(empty)", start, { dur: Math.max(0, end - start), args });
  }

  name(tid, kind, name) {
    this.out.push({ ph: "M", name: kind, pid: this.pid, tid, args: { name } });
  }

  add(ph, tid, name, ts, more) {
    this.out.push({ ph, pid: this.pid, tid, name, ts, ...more });
  }
}

export function perfetto({ records }) {
  const traceEvents = lanesOf(records).flatMap((lane, i) => new Process(lane, i + 1).events());
  return JSON.stringify({ traceEvents, displayTimeUnit: "ms", otherData: { source: "EESD Live" } });
}

// ---- one offline file: the server's template, the trace filled in here ----

export const PLACE = ["<", 'script type="application/x-ndjson" id="trace">'].join(""); // split in two, because the offline file contains this script too
const LANGUAGE = '<html lang="en">'; // only its first occurrence is replaced: the file's own tag

export function html(trace, template) {
  const spoken = LANGUAGE.replace("en", language.codes[language.now]);
  return template
    .replace(LANGUAGE, spoken)
    .split(PLACE)
    .join(PLACE + ndjson(trace));
}
