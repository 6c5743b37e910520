// The state of a race: both lanes, and notes that belong to neither. Drawing depends on this state only. No DOM.
import { Lane } from "./rounds.js";
import { STATES } from "./token.js";

export class RaceState {
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
    if (record.lane in this.lanes && !record.row) this.lanes[record.lane].apply(record);
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

  // For tests and debugging.
  summary() {
    const { eesd, vanilla } = this.lanes;
    const count = (state) => eesd.tokens.filter((token) => token.state === state).length;
    return {
      phase: this.phase,
      error: this.error,
      counts: Object.fromEntries(STATES.map((state) => [state, count(state)])),
      texts: { eesd: eesd.text, vanilla: vanilla.text },
      tokens: { eesd: eesd.written, vanilla: vanilla.written },
      rounds: eesd.verified,
    };
  }
}
