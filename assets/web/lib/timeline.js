// A race's records in the order of their times, and the state at any point. No DOM.
import { RaceState } from "./race_state.js";

const OVER = new Set(["run_finished", "run_cancelled"]);
const FINAL = new Set(["race_finished", "error", "stopped"]);
const isRejection = ({ type, accepted, drafted }) => (type === "round_verified" || type === "round_told") && accepted < drafted;

// Where a step of each kind stops: after such a record of the watched lane.
const STOPS = {
  event: (record) => record.type !== "prefill_done",
  token: (record) => record.type === "draft_token" || (record.type === "round_verified" && record.next_id !== null),
  round: ({ type }) => type === "tokens_committed" || type === "round_told",
  rejection: isRejection,
};

export class Timeline {
  constructor() {
    this.state = new RaceState();
    this.records = []; // of both lanes; those of one lane are always in order
    this.lanes = { eesd: [], vanilla: [] };
    this.notes = []; // records that belong to no lane: queue, verdict, errors
    this.cursor = 0; // how many records the state has seen
    this.duration = 0;
    this.rounds = 0; // of EESD
    this.eesdEnd = Infinity; // after this time, steps follow vanilla
  }

  // A record of the lane whose clock is behind arrives late and belongs before the other lane's last ones. If the state has already seen those,
  // it sees this one now, since lanes do not depend on each other.
  add(record, follow) {
    record.t ??= this.duration;
    let place = this.records.length;
    while (place && this.records[place - 1].t > record.t) place -= 1;
    this.records.splice(place, 0, record);
    this.listOf(record).push(record);
    this.duration = Math.max(this.duration, record.t);
    if (record.lane === "eesd" && ["round_started", "round_told"].includes(record.type)) this.rounds += 1;
    if (record.lane === "eesd" && OVER.has(record.type)) this.eesdEnd = record.t;
    if (!follow && place >= this.cursor) return;
    this.state.apply(record);
    this.cursor += 1;
  }

  listOf(record) {
    return this.lanes[record.lane] ?? this.notes;
  }

  get atEnd() {
    return this.cursor === this.records.length;
  }

  get time() {
    return this.cursor ? this.records[this.cursor - 1].t : 0;
  }

  // Whether the run is over: no more records will come.
  get over() {
    const begun = Object.values(this.lanes).filter((records) => records.length);
    return this.notes.some(({ type }) => FINAL.has(type)) || (begun.length > 0 && begun.every((records) => OVER.has(records.at(-1).type)));
  }

  // How many records had happened at this time.
  countAt(time) {
    let [low, high] = [0, this.records.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.records[middle].t <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  placeAt(time) {
    return Math.max(this.first, this.countAt(time));
  }

  // Brings the state to where it had seen `cursor` records. Forwards it applies the new ones; backwards it cuts each lane back to a round.
  moveTo(cursor) {
    if (cursor < this.cursor) this.goBack(cursor);
    for (let i = this.cursor; i < cursor; i += 1) this.state.apply(this.records[i]);
    this.cursor = cursor;
  }

  goBack(cursor) {
    const left = new Map(Object.entries(this.state.lanes).map(([name, lane]) => [this.lanes[name], lane.applied]));
    for (let i = cursor; i < this.cursor; i += 1) {
      const list = this.listOf(this.records[i]);
      left.set(list, left.get(list) - 1);
    }
    for (const [name, lane] of Object.entries(this.state.lanes)) {
      const count = left.get(this.lanes[name]);
      if (count < lane.applied) this.rewind(lane, this.lanes[name], count);
    }
    this.state.clearNotes();
    for (const note of this.notes) if (this.records.indexOf(note) < cursor) this.state.apply(note);
    this.cursor = cursor;
  }

  rewind(lane, records, count) {
    const round = lane.rounds.findLast(({ before }) => before.applied <= count);
    if (round) lane.rewind(round);
    else lane.clear();
    for (let i = lane.applied; i < count; i += 1) this.state.apply(records[i]);
  }

  isStop(record, kind) {
    const watched = record.t > this.eesdEnd ? "vanilla" : "eesd";
    return record.lane === watched && STOPS[kind](record);
  }

  // Where the next or the previous step of this kind ends.
  after(kind) {
    for (let i = this.cursor; i < this.records.length; i += 1) if (this.isStop(this.records[i], kind)) return i + 1;
    return kind === "rejection" ? this.cursor : this.records.length;
  }

  before(kind) {
    const { first } = this;
    for (let i = this.cursor - 2; i >= first; i -= 1) if (this.isStop(this.records[i], kind)) return i + 1;
    return kind === "rejection" ? this.cursor : first;
  }

  // Where playing begins: the prompt is on the page, and nothing else.
  get first() {
    const round = this.records.findIndex((record) => record.type === "round_started");
    return round < 0 ? this.records.length : Math.max(round, this.countAt(0));
  }
}
