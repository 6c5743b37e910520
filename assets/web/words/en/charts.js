// The words of the charts and of the lossless panel.
import { number, plural } from "../../lib/numbers.js";

const percent = (share) => `${number(100 * share, 0)} %`;

export const why = {
  title: "Why this draft length",
  belief: "belief",
  after: "after learning",
  others: "by context",
  decisions: "decisions of this round",
  axis: "theta: probability of going on",
  density: "density / peak",
  mean: (value) => `mean ${number(value)}`,
  thisDraw: (theta) => `this draw ${number(theta)}`,
  drew: "drew theta %{x:.2f}",
  label: ({ alpha, beta }, theta) =>
    `Belief Beta(${number(alpha, 1)}, ${number(beta, 1)}), mean ${number(alpha / (alpha + beta))}; last draw theta ${number(theta)}.`,
  noCurve: "The controller's belief: no curve yet.",
  reasons: {
    controller: "the controller said stop",
    limit: "limit of drafts reached",
    length: "no room for more in the text",
    eos: "the draft ended the text",
    stop: "the draft reached a stop string",
    none: "nothing drafted",
  },
  drafts: (spine, siblings) => plural(spine, "draft") + (siblings ? ` with ${plural(siblings, "sibling")}` : ""),
  headline: (round, drafts, reason) => `round ${round}: ${drafts}${reason ? `, ${why.reasons[reason] ?? reason}` : ""}`,
  fixed: (length) => `Fixed draft length: ${plural(length, "token")} in every round. This controller does not learn, so there is no curve.`,
  none: (controller) => `Controller ${controller ?? "without a name"}: it keeps no Beta posterior, so there is no curve.`,
  go: "go on",
  stop: "stop",
  ended: { limit: "at limit", length: "text full", eos: "text ends", stop: "stop string" },
  columns: ["draft", "theta", "decision"],
};

export const charts = {
  noPlotly: "No chart: plotly.js is not loaded on this page.",
  table: "numbers",
  tableOf: (title) => `${title}: table of numbers`,
  round: "round",
  inRound: (kind) => `round %{x}: ${kind}`,
  someInRound: (kind) => `round %{x}: %{y} ${kind}`,

  lengths: {
    title: "Draft lengths",
    axis: "drafts",
    best: "best",
    bestHint: "best length in hindsight",
    bestHover: "round %{x}: in hindsight %{text}",
    atLeast: (drafts) => `${drafts} or more`,
    label: (lane) => `Draft lengths: ${plural(lane.verified, "round")}, ${plural(lane.drafted, "draft")}, ${lane.accepted} accepted.`,
    columns: ["round", "drafts", "accepted", "rejected", "untested", "then", "best"],
  },
  clock: {
    title: "Clock",
    kinds: { draft: "draft", verify: "verify", overhead: "overhead" },
    axis: "seconds of own compute clock",
    rounds: (first, last) => (first === last ? `round ${first}` : `rounds ${first} to ${last}`),
    reading: (lane, time) => `${lane} ${number(time)} seconds`,
    label: (readings) => `Clock: ${readings.join(", ") || "no run yet"}.`,
    columns: ["lane", "rounds", "starts, ms", "draft, ms", "verify, ms", "overhead, ms"],
  },
  belief: {
    title: "Belief over rounds",
    keys: ["mean", "50 % and 90 %", "draw"],
    axis: "probability of acceptance",
    none: "this controller keeps no Beta posterior",
    disturbed: "drafts made worse",
    hover: "round %{x}: mean %{y:.2f}",
    drew: "round %{x}: drew %{y:.2f}",
    label: (rounds, right, wrong, mean) => {
      const now = Number.isFinite(mean) ? `, mean now ${number(mean)}` : "";
      return `Belief over ${plural(rounds, "round")}: ${plural(right, "success", "es")}, ${plural(wrong, "failure")}${now}.`;
    },
    columns: ["round", "alpha", "beta", "mean", "90 % from", "to", "successes", "failures"],
  },
  positions: {
    title: "Acceptance by position",
    axis: "place in the draft",
    share: "share accepted",
    hover: (accepted, tested, last) => `${accepted} of ${tested} accepted; the last one accepted in ${plural(last, "round")}`,
    label: (shares) =>
      `Acceptance by position: ${
        shares
          .slice(0, 8)
          .map((share, i) => `${i + 1}: ${percent(share)}`)
          .join(", ") || "nothing tested yet"
      }.`,
    columns: ["position", "tested", "accepted", "share", "90 % from", "to", "rounds that accepted no more"],
    interval: "90 % interval",
  },
  contexts: {
    title: "Beliefs by context",
    axes: { confidence: "drafter's confidence", certainty: "drafter's certainty: lead of its choice" },
    arm: (label) => label,
    share: "probability of acceptance",
    calibrated: "perfectly calibrated",
    hover: "%{text}: %{y:.2f}",
    label: (arms) => `${plural(arms.length, "belief")}: ${arms.map(({ label, alpha, beta }) => `${label} ${number(alpha / (alpha + beta))}`).join(", ")}.`,
    columns: ["context", "alpha", "beta", "mean", "90 % from", "to"],
  },
  law: {
    title: "Speedup law",
    intro: "The speedup of a fixed draft length k, if every draft were accepted with the same probability α and cost c plain steps.",
    formula: "speedup(k) = (1 + α + ... + α^k) · t / (k · c · t + T(k + 1) + o)",
    terms: "t: a plain step, T: the verify pass, o: the overhead of a round; all measured in this run.",
    alpha: "acceptance α",
    cost: "draft cost c",
    measured: "as measured",
    axis: "draft length k",
    speedup: "speedup",
    even: "as fast as plain decoding",
    here: "this run",
    curve: (alpha) => `α ${number(alpha)}`,
    hover: "k = %{x}: %{y:.2f}x",
    hereHover: "this run: %{x:.1f} drafts a round, %{y:.2f}x",
    noRun: "This chart needs a run with verified drafts.",
    best: (k, gain) =>
      k ? `Best: ${plural(k, "draft")} a round, ${number(gain)}x.` : `Best: no drafts at all. At this acceptance and cost, speculation loses.`,
    run: (length, gain) => `This run: ${number(length, 1)} drafts a round, ${number(gain)}x.`,
    label: (alpha, cost, words) => `Speedup law at acceptance ${number(alpha)} and draft cost ${number(cost)}. ${words}`,
    columns: ["draft length", "speedup"],
  },
};

export const lossless = {
  title: "Lossless?",
  promise: {
    "exact-by-construction":
      "Exact by construction: tested when the model was loaded. On this machine, passes over 2 to 16 tokens, the most a round checks, computed bit " +
      "for bit what one token at a time computes, early in the context and at its end. From that it follows that the texts are the same.",
    "exact-as-observed":
      "Exact as observed: here a pass over many tokens rounds a little differently from one token at a time, so two nearly equal candidates could " +
      "swap places. That is why every run is compared.",
    "same-distribution":
      "Rejection sampling: each text is a draw of its own from the same distribution. The tokens may differ, their probabilities do not. That is " +
      "tested over many draws, not on one text.",
  },
  recorded: (where) => `A recording (${where}): the promise and "this machine" are about the machine that it was made on.`,
  waiting: "The verdict comes when both lanes are done.",
  agree: (tokens) => `So far ${plural(tokens, "token")} compared, all the same.`,
  fork: (token) => `First difference: token ${token}.`,
  margin: (value) =>
    `There, vanilla's two best candidates were ${number(value, 4)} apart (difference of logits). The closer to 0, the less rounding it takes to swap them.`,
  side: (lane, text, chance, margin) => {
    const facts = [Number.isFinite(chance) && `probability ${number(chance, 3)}`, Number.isFinite(margin) && `margin ${number(margin, 4)}`];
    return `${[`${lane} wrote ${text}`, ...facts].filter(Boolean).join(", ")}.`;
  },
  candidatesOf: (lane) => `${lane}: the target's best candidates there`,
  candidates: ["token", "probability", "behind, logits", "written by"],
  caption: (from, to) => `tokens ${from} to ${to}`,
  grid: "both texts, token above token",
  earlier: "earlier",
  later: "later",
  toFork: "to the difference",
  cache: (apart) =>
    apart
      ? `They are alike inside, too: keys and values of all layers are at most ${apart.toExponential(1)} apart.`
      : "They are the same inside, too: keys and values of all layers are equal bit for bit.",
  smallest: (token, margin) => `Narrowest decision so far: token ${token}, margin ${number(margin, 4)}.`,
};
