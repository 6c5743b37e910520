// The words of the sandbox.
import { number, plural } from "../../lib/numbers.js";

const thousands = (value) => value.toLocaleString("en-US");

export const sandbox = {
  title: "Thompson sampling sandbox",
  lead:
    "How many tokens should be drafted before the target checks them? Four controllers answer that for the same made-up text. Set how often a draft " +
    "is accepted and what it costs; see who finds a good draft length, and how many steps it took to learn it.",
  note:
    "Made up in your browser by coins of known bias: no model, and not a measurement. One plain decoding step costs 1, and a round of k drafts 1 + c k. " +
    "Unlike on real text, nothing here tells how certain the drafter is of a token, so throughput has less to go by.",
  start: "Start",
  stop: "Stop",
  batch: "Next 1,000 tokens",
  reset: "Reset",
  another: "another seed",
  seed: (seed) => `seed ${seed}`,
  progress: (tokens, all) => `${thousands(tokens)} of ${thousands(all)} tokens`,
  text: "Text",
  rules: "Controllers",
  kind: "true acceptance",
  kinds: { constant: "the same everywhere", falling: "falls along the draft", switching: "switches back and forth" },
  rate: "acceptance rate",
  fall: "factor per draft",
  other: "after a switch",
  cost: "draft cost c",
  alpha: "prior alpha",
  beta: "prior beta",
  forget: "discount",
  remembers: (share) => (share === 1 ? "1: forgets nothing" : `${share}: about ${plural(Math.round(1 / (1 - share)), "round")}`),
  draw: "theta of beta",
  draws: { token: "drawn per token", round: "drawn once a round" },
  length: "fixed length",
  hints: {
    alpha: "how many accepted drafts beta and throughput assume before the first one",
    beta: "how many rejected drafts beta and throughput assume before the first one",
    forget: "what a round leaves of earlier counts",
  },
  try: "Try",
  tries: {
    switches: [
      "a rate that switches",
      "Nothing is forgotten: how long does beta take to notice the first switch? Then lower the discount to 0.98: a regret below zero is better than " +
        "any fixed length.",
    ],
    prior: [
      "a wrong prior",
      "Before the first draft, fifty are believed to have been accepted, while only four in ten are. How many tokens does it take to unlearn that?",
    ],
    dear: [
      "drafts that cost too much",
      "A draft costs 0.7 steps and half are rejected: drafting never pays. beta looks at acceptance alone and goes on; throughput weighs the cost and stops.",
    ],
    stale: [
      "drafts that grow stale",
      "The first draft is nearly always accepted, the fifth seldom. A controller that believes in one theta for all positions drafts too far; ucb only " +
        "counts what each length earned.",
    ],
  },
  columns: ["controller", "tokens per step", "regret, steps", "mean draft length", "mean accepted length"],
  best: (length) => `best fixed: ${length}`,
  bestFixed: "best fixed",
  running: "All of them write the same text. When it stops, you see what each gained or lost.",
  says: (tokens, best, speed, regrets) => {
    const lost = regrets.map(([name, value]) => (value < 0 ? `${name} gained ${number(-value, 0)}` : `${name} lost ${number(value, 0)}`));
    const fixed = best ? `the best fixed draft length is ${best}` : "the best fixed draft length is 0, plain decoding";
    return `After ${thousands(tokens)} tokens ${fixed}, ${number(speed)} tokens per step. Against it, in steps: ${lost.join(", ")}.`;
  },
  axis: "tokens of the text",
  true: "true rate",
  position: (place) => `position ${place}`,
  prior: "prior",
  plain: "plain decoding",
  hover: (name) => `${name}, token %{x}: %{y:.2f}`,
  speed: {
    title: "Tokens per step",
    axis: "over the last 400 tokens",
    label: (values) => `Tokens per step over the last 400 tokens: ${values.map(([name, value]) => `${name} ${number(value)}`).join(", ")}.`,
  },
  lost: {
    title: "Regret",
    axis: "steps lost to the best fixed length",
    label: (values) => {
      const named = values.map(([name, value]) => `${name} ${number(value, 0)}`).join(", ");
      return `Regret in steps against the best fixed length in hindsight: ${named}.`;
    },
  },
  course: {
    title: "Posterior along the text",
    axis: "probability of acceptance",
    mean: "beta, mean",
    interval: "90 %",
    label: ({ alpha, beta }) => `Posterior of beta along the text, now Beta(${number(alpha, 1)}, ${number(beta, 1)}), mean ${number(alpha / (alpha + beta))}.`,
    columns: ["tokens", "beta, mean", "90 % from", "to", "throughput, mean"],
  },
  now: {
    title: "Posterior now",
    axis: "theta: probability of acceptance",
    density: "density / peak",
    hover: (name) => `${name}, theta %{x:.2f}`,
    label: (rows) => `Posteriors now: ${rows.map(([name, alpha, beta]) => `${name} Beta(${alpha}, ${beta})`).join("; ")}.`,
    columns: ["controller", "alpha", "beta", "mean"],
  },
  lengths: {
    title: "Draft lengths chosen",
    axis: "draft length k",
    share: "share of rounds",
    hover: (name) => `${name}, k = %{x}: %{y:.0%} of rounds`,
    label: (values) => `Mean draft lengths: ${values.map(([name, value]) => `${name} ${number(value, 1)}`).join(", ")}.`,
    column: "length",
  },
};
