// The words of the round microscope.
import { number, plural } from "../../lib/numbers.js";
import { count, exact, shifts } from "../counts.js";

const ms = (value) => `${number(1000 * value, 1)} ms`;
const coin = ({ theta, chi, u }) => `u ${number(u)} ${chi ? "<" : "≥"} θ ${number(theta)}: χ = ${chi}`;
const terms = (own) =>
  Object.entries(own)
    .map(([name, value]) => `${name} ${count(value)}`)
    .join(", ");
const decision = (own) => (Number.isFinite(own.theta) && Number.isFinite(own.u) ? coin(own) : terms(own));

export const microscope = {
  title: "Round microscope",
  pick: "Click a token or a column, or let it follow the playhead.",
  empty: "No round yet.",
  notSaid: "Not said.",
  follow: "follow the playhead",
  go: "go to round",
  round: (round) => `round ${round}`,
  steps: ["Draw", "Draft", "Stop", "Verify", "Accept or reject", "Learn"],

  tree: {
    label: "The drafts of this round as a tree: the spine is the first line, branches stand below it, the accepted path is ticked",
    prices: "Time of a verify pass over one row, two rows and so on up to this tree's, as measured",
    pass: (rows, seconds) => `${plural(rows, "row")}: ${ms(seconds)}`,
    most: (seconds) => ms(seconds),
    price: (rows, beside, seconds, hits) =>
      `A tree of ${rows} rows, ${beside} of them beside the spine: together they cost ${ms(seconds)} more than the spine alone; ${hits} of them accepted.`,
  },

  draw: {
    note: "What the controller believed before this round: how likely is it that the next draft is accepted?",
    belief: (alpha, beta) => `θ ~ Beta(α, β) = Beta(${count(alpha)}, ${count(beta)})`,
    mean: (alpha, beta) => `mean α / (α + β) = ${count(alpha)} / ${count(alpha + beta)} = ${number(alpha / (alpha + beta))}`,
    drawn: (values) => `θ drawn: ${values.map((value) => number(value)).join(", ")}`,
    arm: ({ label, alpha, beta }) => `${label}: Beta(${count(alpha)}, ${count(beta)}), mean ${number(alpha / (alpha + beta))}`,
    fixed: (length) => `k = ${length} in every round; nothing is drawn`,
    none: "This controller draws nothing at random.",
    number: (name, value) => `${name} ${count(value)}`,
  },
  draft: {
    note: "q: the probability that the drafter gave the token; H: its entropy in nats.",
    token: ({ draft, entropy }) => `q ${number(draft, 3)}   H ${number(entropy)}`,
    time: (time, drafts) => `${ms(time)} / ${drafts} = ${ms(time / drafts)} per draft`,
    none: "Nothing was drafted.",
  },
  stop: {
    note: "After every draft: go on, or stop?",
    token: (own, decided) => [decision(own), decided].filter(Boolean).join(", "),
    reason: {
      controller: "The controller said stop.",
      limit: "The round reached its limit of drafts.",
      length: "The text has no room for more.",
      eos: "The draft ended the text.",
      stop: "The draft reached a stop string.",
      none: "Nothing was drafted.",
    },
  },
  verify: {
    shared: "The other layers check all guesses in one pass.",
    whole: "All layers check all guesses in one pass.",
    note: "p: the probability the target gives the draft; margin: how far its own choice leads.",
    token: ({ target, margin }) => `p ${number(target, 3)}   margin ${number(margin)}`,
    untested: "not judged: it came after a rejection",
    time: (time, drafts) => `T(k + 1) = T(${drafts + 1}) = ${ms(time)}, one pass`,
  },
  accept: {
    notes: {
      greedy: "Greedy: a draft is accepted if it is the target's most likely token.",
      "shared-noise": "Shared noise: target and drafter choose with the same random numbers. A draft is accepted if both choose the same token.",
      rejection: "Rejection sampling: a draft is accepted with probability min(1, p / q), so that the text keeps the target's distribution.",
    },
    same: "the target chooses the same: accepted",
    other: "the target chooses another: rejected",
    untested: "untested",
    chance: ({ p, q, chance, u }) => {
      const verdict = u < chance ? "accepted" : "rejected";
      return `min(1, ${number(p, 3)} / ${number(q, 3)}) = ${number(chance)}, u ${number(u)} ${u < chance ? "<" : "≥"} ${number(chance)}: ${verdict}`;
    },
    next: { correction: (p) => `the target's own token instead, p ${number(p, 3)}`, bonus: (p) => `one more token from the target, p ${number(p, 3)}` },
    end: "The text ends here.",
  },
  learn: {
    note: "Accepted drafts add to α, a rejected one adds to β. Untested ones add to neither.",
    alpha: (before, accepted, after) => `α = ${count(before)} + ${accepted} accepted = ${count(after)}`,
    beta: (before, rejected, after) => `β = ${count(before)} + ${rejected} rejected = ${count(after)}`,
    moved: (name, before, after) => `${name}: ${exact(before)} → ${exact(after)}`,
    mean: (before, after) => `mean ${number(before, 3)} → ${number(after, 3)}`,
    arm: (before, after) => `${before.label}: ${shifts(before, after).join(", ")}`,
    nothing: "Its belief did not change.",
  },

  // Why this length: what happened, then how it looks in hindsight.
  why: {
    drafting: (drafts) => `${plural(drafts, "draft")} so far.`,
    coin: (drafts, { theta, u }) =>
      `${plural(drafts, "draft")}: then the belief gave θ = ${number(theta)}, and the random number u = ${number(u)} was not below it. So the coin said stop.`,
    controller: (drafts, own) => `${plural(drafts, "draft")}: the controller said stop${Object.keys(own).length ? ` (${terms(own)})` : ""}.`,
    fixed: (drafts) => `${plural(drafts, "draft")}, as fixed for every round.`,
    limit: (drafts) => `${plural(drafts, "draft")}: the most that a round may have.`,
    length: (drafts) => `${plural(drafts, "draft")}: the text has no room for more.`,
    eos: (drafts) => `${plural(drafts, "draft")}: the last one ended the text.`,
    stop: (drafts) => `${plural(drafts, "draft")}: the last one completed a stop string.`,
    none: () => "No draft: this round is one plain step.",
    told: (program, drafted, accepted) => `${program} says: ${plural(drafted, "draft")}, ${accepted || "none"} accepted.`,
    right: "In hindsight one more might have paid off: nothing was rejected.",
    wrong: (accepted, wasted) => `In hindsight ${accepted || "none"} would have been best: ${plural(wasted, "draft")} wasted.`,
    tree: ({ accepted, drafted }) => `Its tree had ${plural(drafted, "draft")}, and ${accepted || "none"} of them stood on the target's path.`,
  },
};

export const drafter = {
  title: "The drafter",
  hint: "What it has learned while it wrote.",
  attention: "attention",
  feed: "feed-forward",
  layer(name, layer, share) {
    const some = share ? `skipped in ${Math.round(100 * share)} % of draft steps` : "runs";
    return `${name}, layer ${layer}: ${share === 1 ? "skipped" : some}`;
  },
  row: (name, shares) => `${name}: ${shares.filter((share) => share > 0).length} of ${shares.length} layers are skipped`,
  pool: "phrases that may follow here, newest first",
  phrase: (age, hits) => `${plural(age, "round")} old, ${plural(hits, "token")} right so far`,
  names: {
    ...{ score: "score", trials: "trials", tokens: "tokens in the table", keys: "keys", phrases: "phrases", copying: "copies" },
    ...{ drafter: "drafts now", gains: "gain", first: "first token right", copy: "copies right", exit: "exit layer right" },
    ...{ promised: "tokens the copy promises", given: "tokens a draft of the head gives" },
  },
};
