// All visible words, in one place for translation. Functions fill numbers in. A translation is one more table of this shape in
// EESD.translations (words_zh.js); what it lacks stays English. The microscope, the tour and the glossary have theirs in words_learn.js.
(() => {
  "use strict";
  const { number, plural, seconds } = window.EESD;
  const percent = (share) => `${number(100 * share, 0)} %`;

  const states = { pending: "pending", accepted: "accepted", rejected: "rejected", untested: "untested", correction: "correction", bonus: "bonus" };

  const page = {
    tour: "tour",
    glossary: "glossary",
    present: "present",
    language: "中文",
    languageHint: "Chinese",
    tourHint: "a guided tour, with tasks (T)",
    glossaryHint: "glossary and formulas (G)",
    presentHint: "large type for a talk (F)",
    leave: "back to the page (F)",
    form: {}, // words of the form, which come from the server in English: a translation says them anew
  };

  const levels = { "exact-by-construction": "exact by construction", "exact-as-observed": "exact as observed", "same-distribution": "same distribution" };
  const against = "against this engine with k = 0";

  const race = {
    title: "The race",
    against,
    legend: "token states",
    hide: "hide rejected drafts",
    disturbed: ({ share, first }) =>
      `Disturbed on purpose: from new token ${first + 1} on, each draft was replaced by a random token with probability ${share}. Drafts cost time and never change the text.`,
    units: { clock: "s", rate: "tok/s", length: "tok/round" },
    lanes: { eesd: "EESD", vanilla: "Vanilla" },
    text: (lane) => `${lane}: text. Arrow keys move from token to token.`,
    prefill: (time) => `prefill ${seconds(time)}`,
    prefillHint: "reading the prompt; not on the clock",
    preparing: "preparing...",
    loading: (seconds) => `loading the weights, ${seconds} s so far: once, and on nobody's clock`,
    waitingForWeights: (place, seconds) => `waiting for the device: place ${place}; it is loading weights of another precision, ${seconds} s so far`,
    waiting: (place, wait) => `waiting for the device: place ${place}${Number.isFinite(wait) ? `, about ${Math.ceil(wait)} s` : ""}`,
    progress: (round, tokens) => `round ${round}, ${plural(tokens, "token")}`,
    finished: "finished",
    over: (status, eesd, vanilla, speedup) =>
      `Run over: ${status}. EESD ${number(eesd, 0)} tokens per second, vanilla ${number(vanilla, 0)}.` +
      (Number.isFinite(speedup) ? ` Speedup ${number(speedup)} ${against}.` : ""),
    broken: (line) => `Line ${line} of the trace cannot be read; the run is shown up to there.`,
    endOfText: "end of text",
    earlier: (tokens) => `scroll up for ${tokens} earlier tokens ... `,
  };

  const verdict = {
    stopped: (how) => `stopped ${how || "by you"}`,
    same: "same distribution: the texts may differ, their chances do not",
    fork: (token, margin) => `differs at token ${token}${margin === null ? "" : `, margin ${number(margin, 4)}`}`,
    differ: "the texts differ",
    identical: (tokens, level) => `identical: all ${plural(tokens, "token")}, ${levels[level] ?? level}`,
  };

  const tip = {
    states: {
      pending: "draft, not verified yet",
      accepted: "draft, accepted",
      rejected: "draft, rejected",
      untested: "draft, untested: came after a rejection",
      correction: "correction by the target",
      bonus: "bonus of the target",
      plain: "one plain decoding step",
    },
    state: "state",
    round: "round",
    position: "position",
    draft: "draft probability",
    target: "target probability",
    confidence: "confidence",
    entropy: "entropy",
    nats: (value) => `${number(value)} nats`,
    margin: "margin",
  };

  const intro = {
    title: "what you will see",
    invitation: "Beside it, the same model writes one token at a time. Same text, two clocks: press Run.",
    meanings: {
      pending: "guessed, not checked yet",
      accepted: "guessed, and the model agrees",
      rejected: "the first wrong guess",
      untested: "guessed after a wrong one, never judged",
      correction: "the model's own token in place of a wrong guess",
      bonus: "one more token when every guess was right",
    },
    steps: [
      ["1  Draft", "The first layers of the model guess a few tokens ahead."],
      ["2  Verify", "The other layers check all guesses in one pass. Right ones stay; the first wrong one is replaced."],
      ["3  Learn", "Every check moves a curve of belief. A draw from it decides: guess on, or stop."],
    ],
    sample: { start: "The cat sat", right: [" on", " the"], wrong: " sofa", correction: " mat", draw: "theta 0.78, chi 1: go on" },
  };

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
    present: "presenter mode (F)",
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
      ["F", "presenter mode: large type, no controls"],
      ["T", "guided tour"],
      ["G", "glossary and formulas"],
      ["?", "this list"],
      ["Ctrl + Enter, Escape", "run, stop"],
      ["Enter on a token", "look into its round"],
    ],
  };

  // ---- charts ----

  const why = {
    title: "Why this draft length",
    belief: "belief",
    after: "after learning",
    others: "by context",
    decisions: "decisions of this round",
    axis: "theta: chance to go on",
    density: "density / peak",
    mean: (value) => `mean ${number(value)}`,
    thisDraw: (theta) => `this draw ${number(theta)}`,
    drew: "drew theta %{x:.2f}",
    label: ({ alpha, beta }, theta) => `Belief Beta(${number(alpha, 1)}, ${number(beta, 1)}), mean ${number(alpha / (alpha + beta))}; last draw theta ${number(theta)}.`,
    noCurve: "The controller's belief: no curve yet.",
    reasons: {
      controller: "the controller said stop",
      limit: "the most drafts a round may have",
      length: "the text has its full length",
      eos: "the draft ended the text",
      none: "nothing drafted",
    },
    headline: (round, drafts, reason) => `round ${round}: ${plural(drafts, "draft")}${reason ? `, ${why.reasons[reason] ?? reason}` : ""}`,
    fixed: (length) => `Fixed draft length: ${plural(length, "token")} in every round. This controller does not learn, so there is no curve.`,
    none: (controller) => `Controller ${controller ?? "without a name"}: it keeps no Beta posterior, so there is no curve.`,
    go: "go on",
    stop: "stop",
    ended: { limit: "at limit", length: "text full", eos: "text ends" },
    columns: ["draft", "theta", "decision"],
  };

  const charts = {
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
      axis: "chance of acceptance",
      none: "this controller keeps no Beta posterior",
      disturbed: "drafts made worse",
      hover: "round %{x}: mean %{y:.2f}",
      drew: "round %{x}: drew %{y:.2f}",
      label: (rounds, right, wrong, mean) =>
        `Belief over ${plural(rounds, "round")}: ${plural(right, "success", "es")}, ${plural(wrong, "failure")}${Number.isFinite(mean) ? `, mean now ${number(mean)}` : ""}.`,
      columns: ["round", "alpha", "beta", "mean", "90 % from", "to", "successes", "failures"],
    },
    positions: {
      title: "Acceptance by position",
      axis: "place in the draft",
      share: "share accepted",
      hover: (accepted, tested) => `${accepted} of ${tested} accepted`,
      label: (shares) => `Acceptance by position: ${shares.slice(0, 8).map((share, i) => `${i + 1}: ${percent(share)}`).join(", ") || "nothing tested yet"}.`,
      columns: ["position", "tested", "accepted", "share", "90 % from", "to"],
      interval: "90 % interval",
    },
    contexts: {
      title: "Beliefs by context",
      axes: { confidence: "drafter's confidence", certainty: "drafter's certainty: lead of its choice" },
      arm: (label) => label,
      share: "chance of acceptance",
      calibrated: "as confident as right",
      hover: "%{text}: %{y:.2f}",
      label: (arms) => `${plural(arms.length, "belief")}: ${arms.map(({ label, alpha, beta }) => `${label} ${number(alpha / (alpha + beta))}`).join(", ")}.`,
      columns: ["context", "alpha", "beta", "mean", "90 % from", "to"],
    },
    law: {
      title: "Speedup law",
      intro: "What a fixed draft length k would give, if every draft were accepted with the same chance α and cost c plain steps.",
      formula: "speedup(k) = (1 + α + ... + α^k) · t / (k · c · t + T(k + 1) + o)",
      terms: "t: a plain step, T: the verify pass, o: overhead of a round; all from this run.",
      alpha: "acceptance α",
      cost: "draft cost c",
      measured: "as measured",
      axis: "draft length k",
      speedup: "speedup",
      even: "as fast as plain",
      here: "this run",
      curve: (alpha) => `α ${number(alpha)}`,
      hover: "k = %{x}: %{y:.2f}x",
      hereHover: "this run: %{x:.1f} drafts a round, %{y:.2f}x",
      noRun: "The law needs a run with verified drafts.",
      best: (k, gain) =>
        k ? `Best: ${plural(k, "draft")} a round, ${number(gain)}x.` : `Best: no drafts at all. At this acceptance and cost, speculation loses.`,
      run: (length, gain) => `This run: ${number(length, 1)} drafts a round, ${number(gain)}x.`,
      label: (alpha, cost, words) => `Speedup law at acceptance ${number(alpha)} and draft cost ${number(cost)}. ${words}`,
      columns: ["draft length", "speedup"],
    },
  };

  const lossless = {
    title: "Lossless?",
    promise: {
      "exact-by-construction":
        "Exact by construction: tested when the model was loaded, a pass over many tokens gives bit for bit what one token at a time gives on this machine. The texts cannot differ.",
      "exact-as-observed":
        "Exact as observed: here a pass over many tokens rounds a little differently from one token at a time, so two nearly equal candidates could swap. That is why every run is compared.",
      "same-distribution":
        "Rejection sampling: each text is a draw of its own from the same distribution. The tokens may differ, their chances do not; that is tested over many draws, not on one text.",
    },
    waiting: "The verdict comes when both lanes are done.",
    agree: (tokens) => `So far ${plural(tokens, "token")} compared, all the same.`,
    fork: (token) => `First difference: token ${token}.`,
    margin: (value) =>
      `Vanilla's two best candidates were ${number(value, 4)} apart there (difference of logits): the nearer to 0, the smaller the rounding that swaps them.`,
    side: (lane, text, chance, margin) => `${lane} wrote ${text}${Number.isFinite(chance) ? `, probability ${number(chance, 3)}` : ""}${Number.isFinite(margin) ? `, margin ${number(margin, 4)}` : ""}.`,
    candidatesOf: (lane) => `${lane}: the target's best candidates there`,
    candidates: ["token", "probability", "behind, logits", "written by"],
    caption: (from, to) => `tokens ${from} to ${to}`,
    grid: "both texts, token above token",
    earlier: "earlier",
    later: "later",
    toFork: "to the difference",
    smallest: (token, margin) => `Narrowest decision so far: token ${token}, margin ${number(margin, 4)}.`,
  };

  window.EESD.words = { states, levels, page, race, verdict, tip, intro, scrubber, keys, why, charts, lossless };
  window.EESD.translations = {};
})();
