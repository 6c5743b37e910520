// Four of the controllers in eesd_core/control, for the sandbox: the same numbers in, the same decisions out (tests/core/test_sandbox_js.py
// compares them with Python's). Names and formulas are Python's; its files give sources and reasons. `times[k]` is the time of a round with k
// drafts; the unit is a round without drafts. keepDrafting receives {depth, lead} of a draft and returns whether to go on.

export const MAX_DRAFT = 15;

// The same uniform numbers as Random64 in eesd_core/control/base.py (SplitMix64), so that a seed gives the same draws.
export class Random64 {
  constructor(seed) {
    this.x = BigInt(seed);
  }

  random() {
    this.x = BigInt.asUintN(64, this.x + 0x9e3779b97f4a7c15n);
    let x = BigInt.asUintN(64, (this.x ^ (this.x >> 30n)) * 0xbf58476d1ce4e5b9n);
    x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d049bb133111ebn);
    return Number((x ^ (x >> 31n)) >> 11n) * 2 ** -53;
  }

  betavariate(alpha, beta) {
    const y = this.gammavariate(alpha);
    return y ? y / (y + this.gammavariate(beta)) : 0;
  }

  // As in Python's random module: Cheng (1977) above 1, GS of Kennedy and Gentle (1980) below.
  gammavariate(alpha) {
    if (alpha === 1) return -Math.log(1 - this.random());
    return alpha > 1 ? this.gammaAboveOne(alpha) : this.gammaBelowOne(alpha);
  }

  gammaAboveOne(alpha) {
    const root = Math.sqrt(2 * alpha - 1);
    const b = alpha - Math.log(4);
    const c = alpha + root;
    for (;;) {
      const u = this.random();
      if (u <= 1e-7 || u >= 0.9999999) continue;
      const other = 1 - this.random();
      const v = Math.log(u / (1 - u)) / root;
      const x = alpha * Math.exp(v);
      const z = u * u * other;
      const r = b + c * v - x;
      if (r + (1 + Math.log(4.5)) - 4.5 * z >= 0 || r >= Math.log(z)) return x;
    }
  }

  gammaBelowOne(alpha) {
    const b = (Math.E + alpha) / Math.E;
    for (;;) {
      const p = b * this.random();
      const x = p <= 1 ? p ** (1 / alpha) : -Math.log((b - p) / alpha);
      const u = this.random();
      if (p > 1 ? u <= x ** (alpha - 1) : u <= Math.exp(-x)) return x;
    }
  }
}

export class Fixed {
  constructor({ length = 4 } = {}) {
    this.length = length;
  }

  startRound() {
    return this.length;
  }

  keepDrafting({ depth }) {
    return depth + 1 < this.length;
  }

  observe() {}
}

export class Beta {
  constructor({ alpha = 1, beta = 1, draw = "token", forget = 1, seed = 0 } = {}) {
    Object.assign(this, { prior: [alpha, beta], alpha, beta, perRound: draw === "round", forget, theta: 0, random: new Random64(seed) });
  }

  startRound() {
    if (this.perRound) this.draw();
    return MAX_DRAFT;
  }

  keepDrafting() {
    if (!this.perRound) this.draw();
    return this.random.random() < this.theta;
  }

  draw() {
    this.theta = this.random.betavariate(this.alpha, this.beta);
  }

  observe({ drafted, accepted }) {
    const [alpha, beta] = this.prior;
    this.alpha = alpha + this.forget * (this.alpha - alpha) + accepted;
    this.beta = beta + this.forget * (this.beta - beta) + Number(accepted < drafted);
  }

  posterior() {
    return { alpha: this.alpha, beta: this.beta };
  }
}

export class Ucb {
  constructor({ width = 0.5, limit = 8 } = {}) {
    const zeros = () => new Array(limit + 1).fill(0);
    Object.assign(this, { width, tokens: zeros(), time: zeros(), rounds: zeros(), length: 0 });
  }

  startRound(times) {
    this.times = times;
    const untried = this.rounds.indexOf(0);
    this.length = untried >= 0 ? untried : this.best();
    return this.length;
  }

  best() {
    const log = Math.log(sumOf(this.rounds));
    return highest(this.rounds, (rounds, k) => this.tokens[k] / this.time[k] + this.width * Math.sqrt((2 * log) / rounds));
  }

  keepDrafting({ depth }) {
    return depth + 1 < this.length;
  }

  observe({ drafted, accepted }) {
    this.tokens[this.length] += accepted + 1;
    this.time[this.length] += this.times[drafted];
    this.rounds[this.length] += 1;
  }
}

const BINS = 10;
const LEVELS = 3;
const [BELOW, ABOVE, MEMORY] = [-0.1, 0.1, 0.2];
const [BIN_BORROWS, CONTEXT_BORROWS, THETA_BORROWS] = [5, 16, 20];
const ODDS = Array.from({ length: BINS }, (_, bin) => Math.exp(4 * ((bin + 0.5) / BINS - 0.6)));
const SPEED_MEMORY = 0.999;
const FIRST_ROUNDS = 5;

export class Throughput {
  constructor({ alpha = 1, beta = 1, forget = 0.998, explore = 0.02, seed = 0 } = {}) {
    const counts = () => new Array(LEVELS * BINS).fill(0);
    Object.assign(this, { prior: [alpha, beta], forget, explore, random: new Random64(seed), hits: counts(), misses: counts(), all: [alpha, beta] });
    Object.assign(this, { lately: 0, idle: 0, lucky: false, tokens: 0, time: 0, theta: 0 });
    this.bins = this.posteriorsOfBins();
  }

  startRound(times) {
    this.times = times;
    if (!this.time) this.assume();
    const speed = this.tokens / this.time;
    const { alpha, beta } = this.posterior();
    this.theta = Math.max(this.random.betavariate(alpha, beta), 1e-6);
    const prices = Array.from({ length: MAX_DRAFT }, (_, k) => speed * (times[k + 1] - times[k]));
    this.hurdles = hurdles(prices, this.theta);
    Object.assign(this, { prefix: 1, cells: [], promises: [] });
    if (this.prefix > this.hurdles[0]) return MAX_DRAFT;
    return Number(this.lucky || this.explore * this.idle >= times[1] - times[0]);
  }

  keepDrafting({ depth, lead }) {
    const bin = Math.min(Math.trunc(BINS * Math.tanh(lead / 2)), BINS - 1);
    const [alpha, beta] = this.bins[bin];
    const promise = alpha / (alpha + beta);
    const cell = this.level() * BINS + bin;
    const [hits, misses] = [this.hits[cell], this.misses[cell]];
    this.prefix *= (hits + CONTEXT_BORROWS * promise) / (hits + misses + CONTEXT_BORROWS);
    this.cells.push(cell);
    this.promises.push(promise);
    return this.prefix * this.theta > this.hurdles[depth + 1] * this.theta;
  }

  observe({ drafted, accepted }) {
    this.tokens = SPEED_MEMORY * this.tokens + accepted + 1;
    this.time = SPEED_MEMORY * this.time + this.times[drafted];
    this.idle = drafted ? 0 : this.idle + 1;
    if (!drafted) return;
    this.hits = this.hits.map((n) => this.forget * n);
    this.misses = this.misses.map((n) => this.forget * n);
    for (let i = 0; i < Math.min(drafted, accepted + 1); i += 1) this.learn(i, i < accepted);
    this.all = [this.prior[0] + sumOf(this.hits), this.prior[1] + sumOf(this.misses)];
    this.bins = this.posteriorsOfBins();
    this.lucky = accepted === drafted && this.lately > ABOVE;
  }

  learn(i, isRight) {
    (isRight ? this.hits : this.misses)[this.cells[i]] += 1;
    this.lately += MEMORY * (Number(isRight) - this.promises[i] - this.lately);
  }

  level() {
    return Number(this.lately > BELOW) + Number(this.lately > ABOVE);
  }

  posterior() {
    const [alpha, beta] = this.all;
    const borrowed = Math.min(THETA_BORROWS, alpha + beta) / (alpha + beta);
    const here = (counts) => sumOf(counts.slice(this.level() * BINS, (this.level() + 1) * BINS));
    return { alpha: here(this.hits) + borrowed * alpha, beta: here(this.misses) + borrowed * beta };
  }

  posteriorsOfBins() {
    const inBin = (counts, bin) => counts[bin] + counts[BINS + bin] + counts[2 * BINS + bin];
    return ODDS.map((odds, bin) => {
      const [alpha, beta] = [this.all[0] * odds, this.all[1]];
      const borrowed = BIN_BORROWS / (alpha + beta);
      return [inBin(this.hits, bin) + borrowed * alpha, inBin(this.misses, bin) + borrowed * beta];
    });
  }

  assume() {
    const [alpha, beta] = this.prior;
    let sum = 0;
    const tokens = Array.from({ length: MAX_DRAFT + 1 }, (_, k) => (sum += (alpha / (alpha + beta)) ** k));
    const best = highest(tokens, (value, k) => value / this.times[k]);
    Object.assign(this, { tokens: FIRST_ROUNDS * tokens[best], time: FIRST_ROUNDS * this.times[best] });
  }
}

function hurdles(prices, theta) {
  const found = [1];
  const stretches = [];
  for (const price of prices.toReversed()) {
    let [cost, value, reach] = [price, theta, theta];
    while (stretches.length && stretches.at(-1)[0] * value < cost * reach * stretches.at(-1)[1]) {
      const [more, worth, further] = stretches.pop();
      [cost, value, reach] = [cost + more, value + reach * worth, reach * further];
    }
    stretches.push([cost, value, reach]);
    found.push(cost / value);
  }
  return found.toReversed();
}

const sumOf = (values) => values.reduce((total, value) => total + value, 0);

// The index of the highest value; the first one of equals.
function highest(items, valueOf) {
  const values = items.map(valueOf);
  return values.indexOf(Math.max(...values));
}
