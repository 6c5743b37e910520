// The fold from a lane's records to its rounds; text, charts and exports are views of it. eesd_core/rounds.py is the same fold in Python, and a
// test compares the two. No DOM, so that Node can run it.
// The fold can also go back. A round changes nothing that earlier rounds wrote (except characters split between tokens), so every round
// stores its lane's state before it, and going back means cutting off rounds.
import { isSpecial, isText, textOf } from "./token.js";

const OURS = new Set(["eesd", "vanilla"]);
const ROOT = -1; // the parent of drafts that continue the text itself

// A lane of a race. Records count rounds and tokens from 0; a round's `number`, which people see, counts from 1.
export class Lane {
  constructor(name, row = 0) {
    Object.assign(this, { name, row });
    this.changed = new Set(); // tokens whose state changed since they were drawn
    this.clear();
  }

  clear() {
    Object.assign(this, { prompt: "", level: null, foreign: "", prefill: null, costs: null, clock: 0, end: null, started: false, applied: 0 });
    Object.assign(this, { tokens: [], rounds: [], written: 0, drafted: 0, accepted: 0, verified: 0 });
    this.unsettled = []; // tokens whose text is not committed yet
    this.redrawn = 0; // tokens from this place on differ from those that were drawn
  }

  apply(record) {
    RECORDS[record.type]?.(this, record); // unknown types come from newer versions and are skipped
    this.applied += 1;
    this.clock = Math.max(this.clock, record.t);
    if (this.round && !this.round.told) this.round.end = Math.max(this.round.end, record.t);
  }

  // Restores the lane's state before this round.
  rewind(round) {
    const { tokens, unsettled, roundEnd, ...counts } = round.before;
    this.rounds.length = this.rounds.indexOf(round);
    this.tokens.length = tokens;
    this.redrawn = Math.min(this.redrawn, tokens);
    this.unsettled = unsettled.map(([token]) => token);
    for (const [token, text] of unsettled) this.change(token, { text });
    if (this.round) this.round.end = roundEnd;
    Object.assign(this, counts, { end: null });
  }

  mark() {
    const { applied, clock, written, drafted, accepted, verified } = this;
    const unsettled = this.unsettled.map((token) => [token, token.text]);
    return { applied, clock, written, drafted, accepted, verified, tokens: this.tokens.length, unsettled, roundEnd: this.round?.end };
  }

  get round() {
    return this.rounds[this.rounds.length - 1];
  }

  // The last round that drafted; without one, the round under way. A text often ends with a plain step, of which there is nothing to explain.
  get drafting() {
    return this.rounds.findLast((round) => round.decisions.length) ?? this.round;
  }

  // The rounds that have a verdict.
  get done() {
    return this.rounds.filter((round) => round.outcome);
  }

  get rate() {
    return this.clock > 0 && this.written ? this.written / this.clock : NaN;
  }

  get meanAcceptedLength() {
    return this.verified ? 1 + this.accepted / this.verified : NaN;
  }

  get text() {
    return textOf(this.tokens.filter(isText));
  }

  add(token) {
    token.place = this.tokens.length;
    token.special = this.special ? this.special.has(token.id) : isSpecial(token.text);
    this.tokens.push(token);
    this.round?.tokens.push(token);
  }

  change(token, values) {
    Object.assign(token, values);
    this.changed.add(token);
  }
}

const RECORDS = {
  run_started(lane, { method, prompt, settings, level, special_ids: special }) {
    const foreign = OURS.has(method) ? "" : method; // another program's run: what it did not report is unknown
    Object.assign(lane, { started: true, foreign, prompt, settings, level, special: special ? new Set(special) : null });
  },
  prefill_done(lane, { seconds }) {
    lane.prefill = seconds;
  },
  cost_measured(lane, { draft, verify, fixed }) {
    lane.costs = { draft, verify, fixed };
  },
  round_started(lane, { round, position, limit, posterior, t }) {
    const before = lane.mark();
    if (lane.round) lane.round.end = t; // time between two rounds counts as overhead of the earlier one
    const own = { lane: lane.name, row: lane.row, round, number: round + 1, position, limit, posterior, start: t, end: t, before };
    lane.rounds.push({ ...own, tokens: [], drafts: [], decisions: [], stop: null, outcome: null, learned: null, news: null, committed: null });
  },
  draft_token(lane, record) {
    const { position, id, text, probability, confidence, entropy, parent = record.i - 1 } = record;
    const { drafts, decisions } = lane.round;
    const sibling = parent !== record.i - 1 || decisions.length < drafts.length; // not on the spine, the first path of a tree
    lane.add({ state: "pending", round: lane.round.number, position, parent, sibling, id, text, draft: probability, confidence, entropy });
    drafts.push(record);
    if (!sibling) decisions.push(record); // the decision to go on or stop, with its terms
  },
  draft_stopped(lane, { reason }) {
    lane.round.stop = reason;
  },
  round_verified(lane, record) {
    const judged = judge(lane, record);
    lane.round.outcome = { ...record, ...judged };
    lane.verified += 1;
    lane.drafted += record.drafted;
    lane.accepted += record.accepted;
  },
  posterior_updated(lane, { posterior }) {
    lane.round.learned = posterior;
  },
  drafter_learned(lane, { drafter }) {
    lane.round.news = drafter; // the drafter's own numbers, for display
  },
  tokens_committed(lane, { ids, text }) {
    lane.written += ids.length;
    lane.round.committed = { ids, text };
    joinCharacters(lane, text);
  },
  // Another program's round: nothing else is known about it.
  round_told(lane, record) {
    const { round, drafted, accepted, ids, text, t } = record;
    const tested = Math.min(drafted, accepted + 1);
    const counts = { rejected: tested - accepted, untested: drafted - tested, tested };
    const own = { lane: lane.name, row: lane.row, round, number: round + 1, position: null, limit: null, posterior: {}, start: lane.clock, end: t };
    const rest = { before: lane.mark(), tokens: [], drafts: [], decisions: [], stop: null, learned: null, news: null, committed: null };
    lane.rounds.push({ ...own, ...rest, told: record, outcome: { ...record, ...counts } });
    lane.verified += 1;
    lane.drafted += drafted;
    lane.accepted += accepted;
    addTold(lane, ids, text);
  },
  text_told(lane, { ids, text }) {
    addTold(lane, ids, text);
  },
  run_finished(lane, { reason, new_tokens: written }) {
    lane.end = "finished";
    if (lane.foreign) lane.written = written;
    else if (reason === "stop") cutText(lane);
  },
  run_cancelled(lane) {
    lane.end = "cancelled";
  },
};

// Sets the states of the drafts. They are nodes of a tree; a chain is a tree without branches. Nodes on the path are accepted. The target made a
// choice at every node of the path, so the other children of these nodes are rejected. Children of nodes off the path were never tested.
// Returns how many are rejected and untested, and how many positions, from the first, were tested.
function judge(lane, record) {
  const { accepted, path = Array.from({ length: accepted }, (_, i) => i), probabilities, margins } = record;
  const last = path.at(-1) ?? ROOT;
  const onPath = new Set([ROOT, ...path]);
  const counts = { rejected: 0, untested: 0, tested: accepted };
  lane.round.tokens.forEach((token, i) => {
    if (!onPath.has(token.parent)) {
      counts.untested += 1;
      return lane.change(token, { state: "untested" });
    }
    const state = onPath.has(i) ? "accepted" : "rejected";
    if (state === "rejected") counts.rejected += 1;
    if (state === "rejected" && token.parent === last) counts.tested = accepted + 1;
    lane.change(token, { state, target: probabilities[i], margin: margins[token.parent + 1] });
  });
  if (record.next_id !== null) addOwn(lane, record, last);
  return counts;
}

// The target's own token: correction, bonus, or a plain step.
function addOwn(lane, { drafted, accepted, next_id: id, next_text: text, next_probability: target, next_kind: kind, margins }, parent) {
  const state = drafted ? kind : "plain";
  const position = lane.round.position + accepted;
  lane.add({ state, round: lane.round.number, position, parent, id, text, target, margin: margins[parent + 1] });
}

// Adds another program's text, or a part of it, as one token, since it is unknown which tokens were drafts.
function addTold(lane, ids, text) {
  lane.written += ids?.length ?? 0;
  if (text) lane.add({ state: "plain", round: lane.round?.number ?? null, position: null, parent: ROOT, id: null, text });
}

// A character may be split over several tokens, each of which reads U+FFFD. The committed text has the whole character, maybe a round later.
// It is shown at the token that completed it; the tokens before that become empty.
function joinCharacters(lane, committed) {
  const kept = [...lane.unsettled, ...lane.round.tokens.filter(isText)];
  lane.unsettled = committed ? [] : kept;
  if (!committed || textOf(kept) === committed) return;
  const places = [];
  let parts = [];
  let at = 0;
  for (const token of [...kept, { text: "" }]) {
    if (token.text.includes("\ufffd")) {
      parts.push(token);
      continue;
    }
    const next = token.text ? committed.indexOf(token.text, at) : committed.length;
    if (next < 0 || (next > at && !parts.length)) return; // unexpected text: leave the tokens as they are
    parts.forEach((part, i) => places.push([part, i === parts.length - 1 ? committed.slice(at, next) : ""]));
    parts = [];
    at = next + token.text.length;
  }
  places.forEach(([token, text]) => lane.change(token, { text }));
}

// A stop string is not part of the text, so its tokens lose what was not committed. Only tokens of the last round, and those unsettled before
// it, can be affected.
function cutText(lane) {
  const { before, tokens, committed } = lane.round;
  let left = committed.text.length;
  for (const token of [...before.unsettled.map(([token]) => token), ...tokens.filter(isText)]) {
    const { text } = token;
    lane.change(token, { text: text.slice(0, left) });
    left = Math.max(0, left - text.length);
  }
}

// Every lane and row that wrote a text, sorted by name and row: EESD first.
export function lanesOf(records) {
  const lanes = new Map();
  for (const record of records.filter(({ lane }) => lane && lane !== "race")) {
    const { lane, row = 0 } = record;
    const key = `${lane} ${String(row).padStart(9, "0")}`;
    if (!lanes.has(key)) lanes.set(key, new Lane(lane, row));
    lanes.get(key).apply(record);
  }
  return [...lanes.keys()].sort().map((key) => lanes.get(key));
}

// A round as plain values, under the CSV's column names. Null: the round is not that far yet, or its controller has no such number.
export function rowOf({ lane, row, round, position, limit, posterior, start, end, drafts, decisions, stop, outcome, committed, told }) {
  if (told) return toldRow(lane, row, start, end, outcome);
  const numberOf = (value) => (Number.isFinite(value) ? value : null);
  const { accepted = null, rejected = null, untested = null, next_kind: next = null } = outcome ?? {};
  const { draft_seconds: draft, verify_seconds: verify } = outcome ?? {};
  return {
    lane,
    text: row + 1,
    round: round + 1,
    position,
    start_s: start,
    end_s: end,
    draft_ms: numberOf(1e3 * draft),
    verify_ms: numberOf(1e3 * verify),
    overhead_ms: numberOf(1e3 * (end - start - (draft + verify))),
    limit,
    drafted: drafts.length,
    spine: decisions.length,
    accepted,
    rejected,
    untested,
    next,
    stop,
    alpha: numberOf(posterior.alpha),
    beta: numberOf(posterior.beta),
    theta: numberOf(decisions.at(-1)?.terms.theta),
    token_ids: committed?.ids ?? null,
  };
}

// The row of another program's round: its counts, and its time if it was reported.
function toldRow(lane, row, start, end, { round, drafted, accepted, rejected, untested, ids, seconds }) {
  const empty = { position: null, draft_ms: null, verify_ms: null, overhead_ms: null, limit: null, spine: null, next: null, stop: null };
  const [start_s, end_s] = seconds === null ? [null, null] : [start, end];
  const counts = { lane, text: row + 1, round: round + 1, start_s, end_s, drafted, accepted, rejected, untested };
  return { ...empty, alpha: null, beta: null, theta: null, ...counts, token_ids: ids ?? [] };
}
