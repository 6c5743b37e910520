// A trace from elsewhere is hostile until it has been checked here. The table of fields comes from the program (given.js). The rules are those
// of eesd_core/schema.py; a test checks that both give the same verdicts. Nothing leaves the browser.
import { schema } from "../given.js";
import { say } from "./words.js";

export const MOST_BYTES = 32 * 2 ** 20;
const NOTES = new Set(["recording", "queue", "stopped", "error"]);
export const FORMAT = "eesd-trace/2";
export const MOST_TOLD = 256; // drafts of another program's round
const OLDER = "eesd-trace/1"; // chains only; rounds.js fills in the fields that it lacks

const ROW = {
  name: "string",
  tokens_per_second: "number",
  speedup: "number",
  regret_fixed: "number",
  regret_oracle: "number",
  rounds: "number",
  accepted: "number",
};

const FORK = { position: "integer", margin: "number?", vanilla_id: "integer?", eesd_id: "integer?" };
const CANDIDATE = { id: "integer", text: "string", probability: "number", behind: "number" };

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value) => typeof value === "number" && Math.abs(value) < 2 ** 53;

function fits(value, kind) {
  if (Array.isArray(kind)) return kind.includes(value);
  if (kind.endsWith("*")) return fits(value, kind.slice(0, -1));
  if (kind.endsWith("?")) return value === null || fits(value, kind.slice(0, -1));
  if (["integers", "numbers", "objects"].includes(kind)) return Array.isArray(value) && value.every((item) => fits(item, kind.slice(0, -1)));
  if (kind === "integer") return isNumber(value) && Number.isInteger(value);
  return { number: isNumber, string: (text) => typeof text === "string", boolean: (flag) => typeof flag === "boolean", object: isObject }[kind](value);
}

// Beta counts, if there are any, must be positive numbers.
function believable(posterior) {
  const arms = "arms" in posterior ? posterior.arms : [];
  if (!Array.isArray(arms) || !arms.every((arm) => isObject(arm) && typeof arm.label === "string")) return false;
  const counts = ["alpha", "beta"].filter((name) => name in posterior).map((name) => posterior[name]);
  return [...counts, ...arms.flatMap(({ alpha, beta }) => [alpha, beta])].every((count) => isNumber(count) && count > 0);
}

const whole = (values, table) => isObject(values) && Object.entries(table).every(([name, kind]) => Object.hasOwn(values, name) && fits(values[name], kind));

// A position and each lane's candidates there, if the trace has them.
function isFork(difference) {
  const candidates = Object.hasOwn(difference, "candidates") ? difference.candidates : {};
  if (!whole(difference, FORK) || difference.position < 0 || !isObject(candidates)) return false;
  return Object.values(candidates).every((rows) => Array.isArray(rows) && rows.every((row) => whole(row, CANDIDATE)));
}

class Check {
  constructor() {
    this.lanes = new Map();
  }

  see(line) {
    const { type } = isObject(line) ? line : {};
    if (typeof type !== "string" || !Object.hasOwn(schema, type)) throw new Error("not a record of a trace");
    if (Object.hasOwn(line, "format") && ![FORMAT, OLDER].includes(line.format)) throw new Error(`the format is neither ${FORMAT} nor ${OLDER}`);
    const order = NOTES.has(type) ? null : this.orderOf(line);
    for (const [name, kind] of Object.entries(schema[type])) {
      if (!Object.hasOwn(line, name) && kind.at(-1) === "*" && (order?.format === OLDER || kind.at(-2) === "*")) continue;
      if (!Object.hasOwn(line, name) || !fits(line[name], kind)) {
        throw new Error(`${type} needs ${name} as ${[kind].flat().join(" or ").replaceAll("*", "")}`);
      }
    }
    if ("posterior" in line && !believable(line.posterior)) throw new Error("the posterior holds no belief");
    if (type === "what_if" && !line.rows.every((row) => whole(row, ROW))) throw new Error("a row of what_if is incomplete");
    if (type === "race_finished" && line.first_difference !== null && !isFork(line.first_difference)) throw new Error("the first difference is incomplete");
    order?.see(type, line);
  }

  // The LaneOrder of this line's lane and row, whose own types are checked with the other fields.
  orderOf(line) {
    const key = JSON.stringify([line.lane, line.row]);
    if (!this.lanes.has(key)) this.lanes.set(key, new LaneOrder());
    const order = this.lanes.get(key);
    if (Object.hasOwn(line, "format")) order.format = line.format;
    return order;
  }
}

// The order of records: rounds follow each other, drafts are inside a round, and a verdict covers exactly its round's drafts.
class LaneOrder {
  constructor() {
    Object.assign(this, { seq: 0, t: 0, rounds: 0, parents: null, arms: 0, format: FORMAT });
  }

  see(type, line) {
    if (line.seq !== this.seq || line.t < this.t || line.row < 0) throw new Error(`records of lane ${line.lane} are missing or out of order`);
    const ofRace = ["race_finished", "what_if"].includes(type);
    const isFirst = ["run_started", "race_finished"].includes(type);
    if ((line.lane === "race") !== ofRace || (this.seq === 0) !== isFirst) throw new Error(`${type} cannot stand there`);
    this.seq += 1;
    this.t = line.t;
    if (type === "round_told") {
      this.rounds += 1;
      this.parents = null;
      if (line.round !== this.rounds - 1 || !isTold(line)) throw new Error("round_told does not fit its run");
      return;
    }
    if (type === "round_started") {
      this.rounds += 1;
      this.parents = [];
      this.arms = (line.posterior.arms ?? []).length;
    }
    const inRound = !("round" in line) || (this.parents !== null && line.round === this.rounds - 1);
    if (!inRound || !this.addsUp(type, line)) throw new Error(`${type} does not fit its round`);
  }

  addsUp(type, line) {
    const drafts = this.parents?.length;
    if (type === "draft_token") {
      const { i, parent = i - 1 } = line;
      this.parents.push(parent);
      return i === drafts && parent >= -1 && parent < drafts;
    }
    if (type === "draft_stopped") return line.drafted === drafts;
    if (type === "round_verified") {
      const ended = (line.next_kind === "none") === (line.next_id === null);
      const judged = line.drafted === drafts && line.probabilities.length === drafts;
      return ended && judged && line.accepted >= 0 && line.accepted <= drafts && this.isPath(line) && this.coins(line);
    }
    if (type === "posterior_updated") return (line.posterior.arms ?? []).length === this.arms;
    return true;
  }

  // The path starts at the last token of the text and each node is the parent of the next. There is a margin for each, and one after the last.
  isPath({ accepted, margins, path = Array.from({ length: accepted }, (_, i) => i) }) {
    let last = -1;
    for (const node of path) {
      if (this.parents[node] !== last) return false;
      last = node;
    }
    return path.length === accepted && margins.length > last + 1;
  }

  // An acceptance probability and a random number for every tested draft, or neither. Only chains are judged by rejection sampling.
  coins({ accepted, accept_probabilities: chances = null, uniforms = null }) {
    const tested = Math.min(this.parents.length, accepted + 1);
    return (chances === null && uniforms === null) || [chances, uniforms].every((numbers) => numbers?.length === tested);
  }
}

// Another program's round: plausible counts, and at most one token more than it accepted.
const isTold = ({ drafted, accepted, ids, seconds }) =>
  accepted >= 0 && accepted <= drafted && drafted <= MOST_TOLD && (ids ?? []).length <= accepted + 1 && (seconds ?? 0) >= 0;

// Browsers word JSON errors differently, and none says what may have happened, so the message is ours.
function read(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(say.takeaway.noJson);
  }
}

// Parses a trace into {head, records}. Throws an Error that names the first broken line.
export function parse(text) {
  if (text.length > MOST_BYTES) throw new Error(say.takeaway.tooLarge(MOST_BYTES / 2 ** 20));
  const check = new Check();
  const [heads, records] = [[], []];
  text.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    try {
      const values = read(line);
      check.see(values);
      (values.type === "recording" ? heads : records).push(values);
    } catch (problem) {
      const why = i === 0 ? say.takeaway.noTrace : String(problem.message).slice(0, 200);
      throw new Error(say.takeaway.broken(i + 1, why));
    }
  });
  if (!records.some(({ lane }) => lane)) throw new Error(say.takeaway.noTrace);
  return { head: heads[0] ?? null, records };
}
