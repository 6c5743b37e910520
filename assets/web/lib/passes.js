// Several texts that share passes, as a grid. Every pass is a block of columns, as wide as the most rows that a text has in it. No DOM.
import { sum } from "./numbers.js";
import { Lane } from "./rounds.js";

export const NAMES = ["ems", "padded", "vanilla"];
const whole = (value) => (Number.isInteger(value) && value >= 0 ? value : 0);

// What a trace says about a text's passes (eesd_core/together.py). It may be hostile.
function placeOf({ settings }) {
  const { texts, padded, first_pass: first, since } = settings?.together ?? {};
  return { texts: whole(texts), padded: padded === true, first: whole(first), since: since >= 0 ? Number(since) : 0 };
}

// Records with rows, by form. A live study uses the form's name as lane; a trace has the usual lanes and says in its settings if it is padded.
export class Forms {
  constructor() {
    this.byName = new Map();
    this.eesd = "ems";
  }

  apply(record) {
    const { lane, type } = record;
    if (lane === "eesd" && type === "run_started") this.eesd = placeOf(record).padded ? "padded" : "ems";
    const name = lane === "eesd" ? this.eesd : lane;
    if (!NAMES.includes(name)) return;
    if (!this.byName.has(name)) this.byName.set(name, new Form(name));
    this.byName.get(name).apply(record);
  }

  get(name) {
    return this.byName.get(name);
  }

  get first() {
    return NAMES.find((name) => this.byName.has(name));
  }

  // The share of all tokens that is written, out of the most that the texts may have.
  get progress() {
    const lanes = [...this.byName.values()].flatMap(({ lanes }) => lanes);
    const most = ({ settings, written, end }) => (end ? written : whole(settings?.max_new_tokens));
    return sum(lanes, ({ written }) => written) / sum(lanes, most);
  }
}

// All texts as one form writes them.
class Form {
  constructor(name) {
    Object.assign(this, { name, texts: new Map() });
  }

  apply(record) {
    const { lane, row = 0 } = record;
    if (!this.texts.has(row)) this.texts.set(row, new Lane(lane, row));
    this.texts.get(row).apply(record);
  }

  get lanes() {
    return [...this.texts.values()].sort((a, b) => a.row - b.row);
  }

  // The form's own clock, in seconds.
  get clock() {
    return Math.max(0, ...this.lanes.map((lane) => placeOf(lane).since + lane.clock));
  }

  get written() {
    return sum(this.lanes, ({ written }) => written);
  }

  get rate() {
    return this.written && this.clock ? this.written / this.clock : NaN;
  }

  get over() {
    return this.lanes.every(({ end }) => end);
  }

  // [{pass, width, rows}]: for every pass the cells {kind, token} of every text. Kinds are token states, "padding" (a row computed for nothing)
  // and "blank" (no row).
  get grid() {
    const { lanes } = this;
    const first = lanes.map((lane) => placeOf(lane).first);
    const roundsOf = (pass) => lanes.map(({ rounds }, i) => rounds[pass - first[i]]);
    const numbers = new Set(lanes.flatMap(({ rounds }, i) => rounds.map((_, at) => first[i] + at)));
    const left = new Left(lanes);
    return [...numbers]
      .sort((a, b) => a - b)
      .map((pass) => {
        const rounds = roundsOf(pass);
        const width = Math.max(...rounds.map((round) => (round ? 1 + round.drafts.length : 0)));
        const kept = left.after(rounds);
        return { pass, width, rows: rounds.map((round, i) => this.cells(round, width, kept.has(i))) };
      });
  }

  cells(round, width, isLeft) {
    const own = (round?.tokens ?? []).map((token) => ({ kind: token.state, token }));
    const computed = round ? 1 + round.drafts.length : 0;
    const rest = this.name === "padded" && (round || isLeft) ? "padding" : "blank";
    const filled = [...own, ...Array(Math.max(0, computed - own.length)).fill({ kind: "blank" })];
    return [...filled, ...Array(width - computed).fill({ kind: rest })];
  }
}

// In the padded form a finished text keeps its rows until another takes its place (eesd_core/padded.py).
class Left {
  constructor(lanes) {
    this.most = placeOf(lanes[0] ?? {}).texts || lanes.length;
    Object.assign(this, { lanes, left: [], before: [] });
  }

  // Indices of finished texts that still have rows in a pass with these rounds.
  after(rounds) {
    this.left.push(...this.before.filter((i) => !rounds[i]));
    this.before = rounds.flatMap((round, i) => (round ? [i] : []));
    this.left = this.left.slice(0, Math.max(0, this.most - this.before.length));
    return new Set(this.left);
  }
}

// A form's passes: their number; seconds, rows (with padding) and tokens per pass; the share of rows that is padding; and T_v as measured
// before the run.
export function priceOf(form) {
  const { grid, lanes } = form;
  const passes = grid.length;
  const own = ({ rounds }) => sum(rounds, ({ drafts }) => 1 + drafts.length);
  const padding = sum(grid, ({ rows }) => sum(rows, (cells) => cells.filter(({ kind }) => kind === "padding").length));
  const rows = sum(lanes, own) + padding;
  const { verify = [] } = lanes.find(({ costs }) => costs)?.costs ?? {};
  return { passes, seconds: form.clock / passes, tokens: form.written / passes, rows: rows / passes, padding: padding / rows, verify };
}
