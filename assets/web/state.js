// The state of a race as a fold over its records. No DOM here: what is drawn depends on this and on nothing else.
// It folds backwards too: a round changes nothing that earlier rounds wrote (but for characters split between tokens), so every
// round keeps how its lane stood before it, and going back is cutting off rounds.
(() => {
  "use strict";
  const STATES = ["pending", "accepted", "rejected", "untested", "correction", "bonus"];
  const KEPT = new Set(["accepted", "correction", "bonus", "plain"]);
  const SPECIAL = /^(<\|[\w ]+\|>|<\/?s>|<eos>)$/;
  const { words } = window.EESD;

  class Lane {
    constructor(name) {
      this.name = name;
      this.changed = new Set(); // tokens whose state changed since they were drawn
      this.clear();
    }

    clear() {
      Object.assign(this, { prompt: "", level: null, prefill: null, costs: null, clock: 0, end: null, started: false, applied: 0 });
      Object.assign(this, { tokens: [], rounds: [], written: 0, drafted: 0, accepted: 0, verified: 0 });
      this.unsettled = []; // tokens whose text is not committed yet
      this.redrawn = 0; // tokens from this place on are others than those that were drawn
    }

    // Back to how the lane stood before this round.
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
      this.tokens.push(token);
      this.round?.tokens.push(token);
    }

    change(token, values) {
      Object.assign(token, values);
      this.changed.add(token);
    }
  }

  // Records count rounds and tokens from 0, people from 1: `number` of a round and the verdict are for people.

  // One method per record type. A type that is not here is from the future, and is skipped.
  const RECORDS = {
    run_started(lane, record) {
      lane.started = true;
      lane.prompt = record.prompt;
      lane.settings = record.settings;
      lane.level = record.level;
    },
    prefill_done(lane, record) {
      lane.prefill = record.seconds;
    },
    cost_measured(lane, { draft, verify, fixed }) {
      lane.costs = { draft, verify, fixed };
    },
    round_started(lane, record) {
      const before = lane.mark();
      if (lane.round) lane.round.end = record.t; // the time between two rounds is the earlier one's overhead
      const { round: number, position, limit, posterior, t } = record;
      lane.rounds.push({ number: number + 1, position, limit, posterior, start: t, end: t, tokens: [], decisions: [], before });
    },
    draft_token(lane, record) {
      const { position, id, text, probability, confidence, entropy } = record;
      lane.add({ state: "pending", round: lane.round.number, position, id, text, draft: probability, confidence, entropy });
      lane.round.decisions.push({ go: record.go, terms: record.terms });
    },
    draft_stopped(lane, record) {
      lane.round.reason = record.reason;
    },
    round_verified(lane, record) {
      judge(lane, record);
      lane.verified += 1;
      lane.drafted += record.drafted;
      lane.accepted += record.accepted;
      lane.round.outcome = record;
    },
    posterior_updated(lane, record) {
      lane.round.learned = record.posterior;
    },
    tokens_committed(lane, record) {
      lane.written += record.ids.length;
      joinCharacters(lane, record.text);
    },
    run_finished(lane) {
      lane.end = "finished";
    },
    run_cancelled(lane) {
      lane.end = "cancelled";
    },
    run_failed(lane) {
      lane.end = "failed";
    },
  };

  function judge(lane, record) {
    lane.round.tokens.forEach((token, i) => {
      if (i > record.accepted) return lane.change(token, { state: "untested" });
      const state = i < record.accepted ? "accepted" : "rejected";
      lane.change(token, { state, target: record.probabilities[i], margin: record.margins[i] });
    });
    if (record.next_id === null) return;
    const state = lane.name === "vanilla" ? "plain" : record.next_kind;
    const position = lane.round.position + record.accepted;
    const { next_text: text, next_probability: target, margins } = record;
    lane.add({ state, round: lane.round.number, position, text, target, margin: margins[record.accepted] });
  }

  // Tokens that say something about the text, such as its end, and are not part of it.
  const isSpecial = (text) => SPECIAL.test(text);
  const isText = (token) => KEPT.has(token.state) && !isSpecial(token.text);
  const textOf = (tokens) => tokens.map((token) => token.text).join("");

  // A character may be spread over tokens that are no text on their own (each reads U+FFFD). The committed text has the
  // whole character, maybe a round later: it is shown at the token that completed it, the parts before it become empty.
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
      if (next < 0 || (next > at && !parts.length)) return; // not what was expected: leave the tokens as they came
      parts.forEach((part, i) => places.push([part, i === parts.length - 1 ? committed.slice(at, next) : ""]));
      parts = [];
      at = next + token.text.length;
    }
    places.forEach(([token, text]) => lane.change(token, { text }));
  }

  class RaceState {
    constructor() {
      this.lanes = { eesd: new Lane("eesd"), vanilla: new Lane("vanilla") };
      this.clearNotes();
    }

    clearNotes() {
      Object.assign(this, { queue: null, stopped: "", error: "", result: null });
    }

    apply(record) {
      if (record.type === "queue") this.queue = record;
      else if (record.type === "stopped") this.stopped = String(record.message);
      else if (record.type === "error") this.error = String(record.message);
      else if (record.type === "race_finished") this.result = record;
      else if (record.lane in this.lanes && !record.row) this.applyToLane(this.lanes[record.lane], record);
    }

    applyToLane(lane, record) {
      RECORDS[record.type]?.(lane, record);
      lane.applied += 1;
      lane.clock = Math.max(lane.clock, record.t);
      if (lane.round) lane.round.end = Math.max(lane.round.end, record.t);
      if (record.type === "run_failed") this.error = String(record.message);
    }

    get phase() {
      const lanes = Object.values(this.lanes).filter((lane) => lane.started);
      if (this.error) return "failed";
      if (this.result) return "finished";
      if (this.stopped || lanes.some((lane) => lane.end === "cancelled")) return "cancelled";
      if (lanes.length) return lanes.every((lane) => lane.end) ? "finished" : "running";
      return this.queue ? "queued" : "idle";
    }

    get started() {
      return Object.values(this.lanes).some((lane) => lane.started);
    }

    get speedup() {
      return this.result?.speedup ?? this.lanes.eesd.rate / this.lanes.vanilla.rate;
    }

    // What is known about sameness of the two texts, in words.
    get verdict() {
      const { verdict } = words;
      if (this.phase === "cancelled") return verdict.stopped(this.stopped);
      if (!this.result) return "";
      const { identical, level, first_difference: fork } = this.result;
      if (level === "same-distribution") return verdict.same;
      if (fork) return verdict.fork(fork.position + 1, fork.margin);
      return identical ? verdict.identical(this.lanes.eesd.written, level) : verdict.differ;
    }

    // For tests and for the curious.
    summary() {
      const count = (state) => this.lanes.eesd.tokens.filter((token) => token.state === state).length;
      return {
        phase: this.phase,
        verdict: this.verdict,
        error: this.error,
        counts: Object.fromEntries(STATES.map((state) => [state, count(state)])),
        texts: { eesd: this.lanes.eesd.text, vanilla: this.lanes.vanilla.text },
        tokens: { eesd: this.lanes.eesd.written, vanilla: this.lanes.vanilla.written },
        rounds: this.lanes.eesd.verified,
      };
    }
  }

  Object.assign(window.EESD, { STATES, RaceState, isSpecial });
})();
