// All visible words of the scrubber, the keys and the microscope, in one place for translation. Functions fill numbers in.
(() => {
  "use strict";
  const { number, plural } = window.EESD;
  const ms = (seconds) => `${number(1000 * seconds, 1)} ms`;
  const count = (value) => number(value, Number.isInteger(value) ? 0 : 2); // alpha and beta are whole until something is forgotten

  const text = { earlier: (tokens) => `scroll up for ${tokens} earlier tokens ... ` };

  const scrubber = {
    title: "playback",
    play: "play (space)",
    pause: "pause (space)",
    restart: "play from the start (R)",
    back: "one step back",
    forward: "one step forward",
    kind: "what a step is",
    kinds: { round: "round", token: "token", event: "sub-round", rejection: "rejection" },
    speed: "speed",
    times: (speed) => `${speed}x`,
    slider: "seconds on the lanes' clocks",
    live: "live",
    follow: "back to what is being written now",
    keys: "keys (?)",
    full: "full screen (F)",
    where: (time, round, rounds) => `${number(time)} s${round ? `, round ${round} of ${rounds}` : ""}`,
  };

  const keys = {
    title: "Keys",
    note: "They rest while you type in a field.",
    close: "close",
    list: [
      ["Space", "play or pause"],
      ["← →", "one round back or forward"],
      ["Shift + ← →", "one token"],
      [", .", "one sub-round: draft, verify, update ..."],
      ["X, Shift + X", "next or previous rejection"],
      ["R", "play from the start"],
      ["F", "full screen"],
      ["?", "this list"],
      ["Ctrl + Enter, Escape", "run, stop"],
      ["Enter on a token", "look into its round"],
    ],
  };

  // ---- microscope ----

  const coin = ({ theta, chi, u }) => `u ${number(u)} ${chi ? "<" : "≥"} θ ${number(theta)}: χ = ${chi}`;
  const terms = (own) => Object.entries(own).map(([name, value]) => `${name} ${count(value)}`).join(", ");
  const decision = (own) => (Number.isFinite(own.theta) && Number.isFinite(own.u) ? coin(own) : terms(own));

  const microscope = {
    title: "Round microscope",
    pick: "Click a token or a column, or let it follow the playhead.",
    empty: "No round yet.",
    follow: "follow the playhead",
    round: (round) => `round ${round}`,
    steps: ["Draw", "Draft", "Stop", "Verify", "Accept or reject", "Learn"],

    draw: {
      note: "Belief that the next draft will be accepted, before this round.",
      belief: (alpha, beta) => `θ ~ Beta(α, β) = Beta(${count(alpha)}, ${count(beta)})`,
      mean: (alpha, beta) => `mean α / (α + β) = ${count(alpha)} / ${count(alpha + beta)} = ${number(alpha / (alpha + beta))}`,
      drawn: (values) => `θ drawn: ${values.map((value) => number(value)).join(", ")}`,
      arm: ({ label, alpha, beta }) => `${label}: Beta(${count(alpha)}, ${count(beta)}), mean ${number(alpha / (alpha + beta))}`,
      fixed: (length) => `k = ${length} in every round; nothing is drawn`,
      none: "This controller draws nothing at random.",
      number: (name, value) => `${name} ${count(value)}`,
    },
    draft: {
      note: "Guesses of the first layers and the exit layer. q: chance of the token there; H: entropy in nats.",
      token: ({ draft, entropy }) => `q ${number(draft, 3)}   H ${number(entropy)}`,
      time: (seconds, drafts) => `${ms(seconds)} / ${drafts} = ${ms(seconds / drafts)} a draft`,
      none: "Nothing was drafted.",
    },
    stop: {
      note: "After every draft: go on, or stop?",
      token: ({ go, terms: own }) => [decision(own), go ? "go on" : "stop"].filter(Boolean).join(", "),
      reason: {
        controller: "The controller said stop.",
        limit: "The most drafts a round may have.",
        length: "The text has its full length.",
        eos: "The draft ended the text.",
        none: "Nothing was drafted.",
      },
    },
    verify: {
      note: "The other layers check all guesses in one pass. p: the target's chance of the draft; margin: lead of its choice.",
      token: ({ target, margin }) => `p ${number(target, 3)}   margin ${number(margin)}`,
      untested: "not judged: behind a rejection",
      time: (seconds, drafts) => `T(k + 1) = T(${drafts + 1}) = ${ms(seconds)}, one pass`,
    },
    accept: {
      notes: {
        greedy: "Greedy: a draft is accepted if it is the target's likeliest token.",
        "shared-noise": "Shared noise: target and draft choose with the same random numbers; a draft is accepted if they choose the same token.",
        rejection: "Rejection sampling: a draft is accepted with chance min(1, p / q), so that the text keeps the target's distribution.",
      },
      same: "the target chooses the same: accepted",
      other: "the target chooses another: rejected",
      untested: "untested",
      chance: ({ p, q, chance, u }) =>
        `min(1, ${number(p, 3)} / ${number(q, 3)}) = ${number(chance)}, u ${number(u)} ${u < chance ? "<" : "≥"} ${number(chance)}: ${u < chance ? "accepted" : "rejected"}`,
      next: { correction: (p) => `the target's own instead, p ${number(p, 3)}`, bonus: (p) => `one more of the target's, p ${number(p, 3)}` },
      end: "The text ends here.",
    },
    learn: {
      note: "Accepted drafts add to α, a rejected one to β, untested ones to neither.",
      alpha: (before, accepted, after) => `α = ${count(before)} + ${accepted} accepted = ${count(after)}`,
      beta: (before, rejected, after) => `β = ${count(before)} + ${rejected} rejected = ${count(after)}`,
      moved: (name, before, after) => `${name}: ${count(before)} → ${count(after)}`,
      mean: (before, after) => `mean ${number(before, 3)} → ${number(after, 3)}`,
      nothing: "Nothing it believes has moved.",
    },

    // Why this length: what happened, then how it looks in hindsight.
    why: {
      drafting: (drafts) => `${plural(drafts, "draft")} so far.`,
      coin: (drafts, { theta, u }) =>
        `${plural(drafts, "draft")}: then the belief gave θ = ${number(theta)}, and the random number u = ${number(u)} was not below it. So the coin said stop.`,
      controller: (drafts, own) => `${plural(drafts, "draft")}: the controller said stop${Object.keys(own).length ? ` (${terms(own)})` : ""}.`,
      fixed: (drafts) => `${plural(drafts, "draft")}, as fixed for every round.`,
      limit: (drafts) => `${plural(drafts, "draft")}: the most a round may have.`,
      length: (drafts) => `${plural(drafts, "draft")}: more would not fit into the text's full length.`,
      eos: (drafts) => `${plural(drafts, "draft")}: the last one ended the text.`,
      none: () => "No draft: this round is one plain step.",
      right: "In hindsight one more might have paid: nothing was rejected.",
      wrong: (accepted, wasted) =>
        `In hindsight ${accepted || "none"} would have been best: ${plural(wasted, "draft")} came to nothing.`,
    },
  };

  window.EESD.words = { text, scrubber, keys, microscope };
})();
