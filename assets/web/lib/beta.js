// The Beta distribution: its curve, and its equal-tailed intervals.

export const isBeta = (posterior) => posterior && posterior.alpha > 0 && posterior.beta > 0;
export const meanOf = ({ alpha, beta }) => alpha / (alpha + beta);

// The density relative to its peak. The gamma functions cancel, so nothing overflows however narrow the belief is.
export function betaCurve({ alpha, beta }) {
  const mean = alpha / (alpha + beta);
  const spread = Math.sqrt((mean * (1 - mean)) / (alpha + beta + 1));
  const x = [];
  for (let i = 0; i <= 120; i += 1) x.push(0.0005 + 0.999 * (i / 120));
  for (let i = -40; i <= 40; i += 1) x.push(mean + (i / 10) * spread); // evenly spaced points would miss a narrow peak
  const inside = x.filter((value) => value > 0 && value < 1).sort((a, b) => a - b);
  const log = (value) => (alpha - 1) * Math.log(value) + (beta - 1) * Math.log1p(-value);
  const peak = Math.max(...inside.map(log));
  return { x: inside, y: inside.map((value) => Math.exp(log(value) - peak)), at: (value) => Math.min(1, Math.exp(log(value) - peak)) };
}

// Lanczos, g = 5; error below 2e-10 (Press et al., Numerical Recipes, 6.1).
const LANCZOS = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5];
function logGamma(x) {
  const series = LANCZOS.reduce((sum, term, i) => sum + term / (x + i + 1), 1.000000000190015);
  return (x + 0.5) * Math.log(x + 5.5) - (x + 5.5) + Math.log((2.5066282746310005 * series) / x);
}

// The regularised incomplete beta function by Lentz's continued fraction (Numerical Recipes, 6.4).
export function betaCdf(x, alpha, beta) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const front = Math.exp(logGamma(alpha + beta) - logGamma(alpha) - logGamma(beta) + alpha * Math.log(x) + beta * Math.log1p(-x));
  const direct = x < (alpha + 1) / (alpha + beta + 2); // the side on which the fraction converges quickly
  return direct ? (front * fraction(x, alpha, beta)) / alpha : 1 - (front * fraction(1 - x, beta, alpha)) / beta;
}

function fraction(x, a, b) {
  const tiny = 1e-300;
  const away = (value) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m <= 300; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    value *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    value *= d * c;
    if (Math.abs(d * c - 1) < 1e-9) break;
  }
  return value;
}

function quantile(chance, { alpha, beta }) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 30; i += 1) {
    const middle = (low + high) / 2;
    if (betaCdf(middle, alpha, beta) < chance) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// The quantiles [5 %, 25 %, 75 %, 95 %], computed once for every posterior of a trace.
const known = new WeakMap();
export function betaIntervals(posterior) {
  if (!known.has(posterior))
    known.set(
      posterior,
      [0.05, 0.25, 0.75, 0.95].map((chance) => quantile(chance, posterior)),
    );
  return known.get(posterior);
}
