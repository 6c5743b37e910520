// The words of what explains: the round microscope, the guided tour, the glossary and the formulas.
(() => {
  "use strict";
  const { number, plural } = window.EESD;
  const ms = (value) => `${number(1000 * value, 1)} ms`;
  const count = (value) => number(value, Number.isInteger(value) ? 0 : 2); // alpha and beta are whole until something is forgotten
  const exact = (value) => number(value, Number.isInteger(value) ? 0 : 3); // so that what has moved looks moved

  // ---- microscope ----

  const coin = ({ theta, chi, u }) => `u ${number(u)} ${chi ? "<" : "≥"} θ ${number(theta)}: χ = ${chi}`;
  const terms = (own) => Object.entries(own).map(([name, value]) => `${name} ${count(value)}`).join(", ");
  const shifts = (before, after) =>
    [["α", before.alpha, after.alpha], ["β", before.beta, after.beta]].filter(([, was, is]) => was !== is).map(([name, was, is]) => `${name} ${count(was)} → ${count(is)}`);
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
      time: (time, drafts) => `${ms(time)} / ${drafts} = ${ms(time / drafts)} a draft`,
      none: "Nothing was drafted.",
    },
    stop: {
      note: "After every draft: go on, or stop?",
      token: (own, decided) => [decision(own), decided].filter(Boolean).join(", "),
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
      time: (time, drafts) => `T(k + 1) = T(${drafts + 1}) = ${ms(time)}, one pass`,
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
      moved: (name, before, after) => `${name}: ${exact(before)} → ${exact(after)}`,
      mean: (before, after) => `mean ${number(before, 3)} → ${number(after, 3)}`,
      arm: (before, after) => `${before.label}: ${shifts(before, after).join(", ")}`,
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
      wrong: (accepted, wasted) => `In hindsight ${accepted || "none"} would have been best: ${plural(wasted, "draft")} came to nothing.`,
    },
  };

  // ---- guided tour: what to look at, what to do, and a question where there is nothing to do ----

  const tour = {
    title: "Guided tour",
    next: "next",
    back: "back",
    end: "end the tour",
    place: (step, steps) => `${step} of ${steps}`,
    task: "Try it",
    question: "What do you think?",
    done: "done",
    right: "Right.",
    wrong: "Not quite.",
    steps: {
      race: {
        title: "One model, one text, two clocks",
        text: "Both lanes run the same model from the same prompt. Vanilla writes one token with every pass through all layers. EESD guesses a few tokens with the first layers and checks them all in one pass.",
        task: "Let it play: press Space, or the play button.",
      },
      states: {
        title: "Every token shows what became of it",
        text: "Underlined: guessed and accepted. Struck through: rejected, or untested behind a rejection. Dotted and doubled lines: tokens of the full model itself. The marks carry the meaning without colour too.",
        task: "Point at a rejected token, or reach it with the arrow keys, and read how likely the full model found it.",
      },
      draft: {
        title: "A round begins with guesses",
        text: "The microscope takes one round apart in six steps. In step 2 stand the guesses with the chance q that the exit layer gave them, and its entropy: how unsure it was.",
        task: "Click a token (or press Enter on it) to look into its round.",
      },
      stop: {
        title: "When to stop guessing?",
        text: "Long drafts pay while guesses are right, and are wasted work behind the first wrong one. The paper's controller draws θ from its belief, a Beta curve, and throws a coin with that chance: go on, or stop.",
        task: "Step through one round with the key . (or sub-round and the arrows) and watch the draw fall on the curve.",
      },
      verify: {
        title: "One pass checks them all",
        text: "The remaining layers read all guesses at once, from the hidden states that drafting has left. On the clock a round is drafting, then one verify pass, then a little overhead.",
        question: "Why is checking five tokens in one pass faster than writing five tokens?",
        options: [
          "Most of a pass is reading the weights from memory, and that is done once",
          "Checking uses a smaller model",
          "The checks are skipped for easy tokens",
        ],
        because: "The weights are read once per pass, however many tokens it looks at, up to a point. Checking uses all layers, and skips nothing.",
      },
      accept: {
        title: "The longest right beginning stays",
        text: "Guesses are accepted up to the first that the full model would not have written. That one is replaced by the full model's own token. If all are right, one more comes for free: the bonus.",
        question: "What do the untested guesses behind a rejection tell the controller?",
        options: ["Nothing: they followed a wrong token and were never judged", "They count as failures", "They count as half a failure"],
        because: "Counting them as failures would punish long drafts for nothing. Only tested guesses move the belief.",
      },
      lossless: {
        title: "The text does not change",
        text: "Speculation must not cost quality. Both texts are laid over each other here, and the verdict says how sure it is: by construction, as observed, or with the place and the margin where they part.",
        question: "If guesses were always wrong, what would the text be?",
        options: ["The same text, only slower", "Worse text", "Random text"],
        because: "Every token that stays is one the full model would have written. Bad guesses cost time and nothing else.",
      },
      learn: {
        title: "Belief learns from every verdict",
        text: "Each accepted guess adds to α, the rejected one to β. The ribbon shows how the belief narrows over the rounds; the ticks below it are the successes and failures it learned from.",
        task: "Press X to jump to a rejection, and see the belief step down behind it.",
      },
      length: {
        title: "Was the draft as long as it should have been?",
        text: "A column is a round: as high as its draft is long. The line shows the best length in hindsight: all the right guesses and no wrong one.",
        question: "A column is all accepted, and the line has an arrow upwards. What does that say?",
        options: ["The draft may have been too short", "The draft was too long", "The draft was exactly right"],
        because: "Nothing was rejected, so one more guess might have been right too: the trace cannot know.",
      },
      law: {
        title: "When does it pay?",
        text: "The law of speedup: more acceptance helps, a dearer draft hurts, and the best length depends on both. The star is the run you have watched.",
        task: "Move the sliders until the best is no drafts at all.",
      },
      yours: {
        title: "Now yours",
        text: "Write a prompt and run it: code, a poem, a list, and see where guessing is easy. T brings this tour back, G the glossary, ? the keys. The method is from Liu et al., arXiv 2406.03853; what is ours and what is theirs stands in the README.",
      },
    },
  };

  // ---- glossary and formulas ----

  const glossary = {
    title: "Glossary and formulas",
    terms: "Terms",
    formulas: "Formulas",
    papers: "Papers",
    close: "close",
    list: [
      ["target", "the full model; what it would write is the text"],
      ["exit layer", "one trained layer behind the first N layers; it guesses the next token from what they know"],
      ["draft token", "a token the exit layer proposes"],
      ["round", "drafting, then one verify pass over all drafts"],
      ["accepted", "a draft that the target confirms"],
      ["rejected", "the first draft of a round that it does not confirm"],
      ["untested", "drafts behind a rejection: neither right nor wrong"],
      ["correction", "the target's token in place of a rejected one"],
      ["bonus", "the target's token after a draft without rejection"],
      ["draft length k", "how many drafts a round has"],
      ["acceptance rate", "accepted drafts over all drafts"],
      ["mean accepted length", "1 + accepted / rounds: tokens a round writes"],
      ["draft cost c", "time of one draft step over the time of one plain step"],
      ["controller", "what decides after every draft: go on or stop"],
      ["posterior", "the controller's belief in the next draft, a Beta distribution"],
      ["draw", "one chance θ taken at random from the posterior (Thompson sampling)"],
      ["lossless", "the same tokens as the target alone, or, by rejection sampling, the same distribution"],
      ["margin", "the lead of the target's choice over the second best, in logits"],
      ["prefill", "reading the prompt; on neither clock"],
    ],
    equations: [
      ["θ ~ Beta(α, β),   χ ~ Bernoulli(θ):   draft on while χ = 1", "the paper's controller"],
      ["α ← α + accepted,   β ← β + rejected", "learning; tested drafts only (ours: the paper's text leaves it open)"],
      ["accept x with chance min(1, p(x) / q(x))", "rejection sampling: p of the target, q of the drafter"],
      ["argmax_x (log p(x) + g_x),   g_x Gumbel noise keyed by seed and position", "shared noise: accept if drafter and target pick the same token"],
      ["tokens a round = 1 + α + α² + ... + α^k = (1 − α^(k+1)) / (1 − α)", "expected, if every draft is accepted with chance α"],
      ["speedup(k) = tokens a round · t / (k · c · t + T(k + 1) + o)", "t plain step, T verify pass, o overhead"],
    ],
    links: [
      ["Speculative Decoding via Early-exiting for Faster LLM Inference with Thompson Sampling Control Mechanism (EESD)", "https://arxiv.org/abs/2406.03853"],
      ["Fast Inference from Transformers via Speculative Decoding", "https://arxiv.org/abs/2211.17192"],
      ["Accelerating Large Language Model Decoding with Speculative Sampling", "https://arxiv.org/abs/2302.01318"],
    ],
  };

  Object.assign(window.EESD.words, { microscope, tour, glossary });
})();
