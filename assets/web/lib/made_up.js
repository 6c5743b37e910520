// A made-up text on which several controllers draft. All draft on the same one, so none is slower by bad luck. It is a course of
// eesd_core/simulate/courses.py, and a lane does what `replay` does there (tests/core/test_sandbox_js.py compares them).
import { Beta, Fixed, MAX_DRAFT, Random64, Throughput, Ucb } from "./controllers.js";

export const TOKENS = 4000; // of the text
export const STAY = 1000; // tokens until the rate switches
export const EVERY = 25; // tokens between two points of a curve
const LEAD = 1; // the lead of a draft's score over the runner-up; constant, so that it tells nothing

// The chance that a draft at a place of the text is right, with `depth` drafts before it in its round.
export function chanceAt({ kind, rate, other, fall }, place, depth) {
  if (kind === "switching") return Math.floor(place / STAY) % 2 ? other : rate;
  return kind === "falling" ? rate * fall ** depth : rate;
}

// reach[place]: a draft there is right if fewer than reach[place] drafts come before it in its round.
export function makeText(truth, seed) {
  const random = new Random64(seed + 1_000_003); // not the controllers' seed: their draws must be independent of the text
  return Uint8Array.from({ length: TOKENS }, (_, place) => {
    const u = random.random();
    let reach = 0;
    while (reach < MAX_DRAFT && u < chanceAt(truth, place, reach)) reach += 1;
    return reach;
  });
}

// One controller on its way through a text. times[k]: time of a round with k drafts (0 .. MAX_DRAFT), in plain steps.
export class Lane {
  constructor(rule, reach, times) {
    Object.assign(this, { rule, reach, times, place: 0, cost: 0, accepted: 0, drafted: 0, lengths: [], costs: [0], beliefs: [rule.posterior?.()] });
  }

  round() {
    const { rule, reach, place, times } = this;
    const most = Math.min(rule.startRound(times), reach.length - place - 1);
    let drafted = 0;
    let go = most > 0;
    while (go) {
      drafted += 1;
      go = rule.keepDrafting({ depth: drafted - 1, lead: LEAD }) && drafted < most;
    }
    let accepted = 0;
    while (accepted < drafted && accepted < reach[place + accepted]) accepted += 1;
    rule.observe({ drafted, accepted });
    this.lengths.push(drafted);
    this.drafted += drafted;
    this.accepted += accepted;
    this.mark(accepted + 1, times[drafted]);
  }

  // Adds the points of the curves that this round passes. Its cost is spread evenly over its tokens.
  mark(tokens, cost) {
    for (let at = EVERY * this.costs.length; at <= this.place + tokens; at += EVERY) {
      this.costs.push(this.cost + (cost * (at - this.place)) / tokens);
      this.beliefs.push(this.rule.posterior?.());
    }
    this.place += tokens;
    this.cost += cost;
  }

  get meanLength() {
    return this.drafted / this.lengths.length;
  }

  // 1 + accepted / rounds
  get meanAccepted() {
    return 1 + this.accepted / this.lengths.length;
  }
}

const milliseconds = () => performance.now();

// The controllers side by side, and every fixed draft length, the best of which is known in hindsight.
export class Trial {
  constructor(settings) {
    const { seed, cost, length } = settings;
    this.settings = settings;
    const reach = makeText(settings, seed);
    const times = Array.from({ length: MAX_DRAFT + 1 }, (_, k) => k * cost + 1);
    const lane = (rule) => new Lane(rule, reach, times);
    this.ladder = times.map((_, k) => lane(new Fixed({ length: k })));
    const learners = { beta: lane(new Beta(settings)), throughput: lane(new Throughput(settings)), ucb: lane(new Ucb()) };
    this.lanes = { ...learners, fixed: this.ladder[length] };
    this.every = [...Object.values(learners), ...this.ladder];
    this.reached = 0; // tokens that all of them have written
  }

  // Goes on until all lanes have written `tokens` tokens or `budget` milliseconds are over. Returns whether they have.
  advance(tokens, budget = Infinity) {
    const end = milliseconds() + budget;
    while (this.reached < tokens) {
      const next = Math.min(tokens, this.reached + EVERY);
      for (const lane of this.every) while (lane.place < next) lane.round();
      this.reached = next;
      if (milliseconds() > end) break;
    }
    return this.reached >= tokens;
  }

  // How many points of the curves all lanes have passed, including the one at 0.
  get points() {
    return Math.floor(this.reached / EVERY) + 1;
  }

  // The fixed draft length that has been cheapest so far.
  get best() {
    const last = this.points - 1;
    const costs = this.ladder.map((lane) => lane.costs[last]);
    return costs.indexOf(Math.min(...costs));
  }

  // Cost above that of the best fixed length, at every point, in plain steps.
  regret(lane) {
    const best = this.ladder[this.best];
    return lane.costs.slice(0, this.points).map((cost, i) => cost - best.costs[i]);
  }

  // Tokens per plain step at every point, over the `window` points before it or as many as there are; NaN at the first `least` points.
  speed(lane, window, least) {
    const from = (i) => Math.max(0, i - window);
    const costs = lane.costs.slice(0, this.points);
    return costs.map((cost, i) => (i < least ? NaN : ((i - from(i)) * EVERY) / (cost - costs[from(i)])));
  }
}
