// The guided tour: what to look at, what to do, and a question where there is nothing to do. The first option is the right one.

export const tour = {
  title: "Guided tour",
  next: "next",
  back: "back",
  end: "end the tour",
  path: "who the tour is for",
  paths: { student: "10 minutes, students", visitor: "2 minutes, visitors", engineer: "10 minutes, engineers" },
  place: (step, steps) => `${step} of ${steps}`,
  task: "Try it",
  question: "What do you think?",
  done: "done",
  right: "Right.",
  wrong: "Not quite.",
  steps: {
    race: {
      title: "One model, one text, two clocks",
      text:
        "Both lanes run the same model on the same prompt. Vanilla writes one token with every pass through all layers. " +
        "EESD uses the first layers to guess a few tokens ahead, then checks all the guesses in one pass.",
      task: "Let it play: press Space or the play button.",
    },
    states: {
      title: "Every token shows what became of it",
      text:
        "Underlined: a guess that was accepted. Struck through: a guess that was rejected, or came after a rejection and was never tested. " +
        "Dotted or double underline: the full model's own token. You can tell them apart without colour.",
      task: "Point at a rejected token (or reach it with the arrow keys) and see how likely the full model found it.",
    },
    draft: {
      title: "A round begins with guesses",
      text:
        "The microscope takes one round apart in six steps. Step 2 lists the guesses with the probability q that the exit layer gave each of " +
        "them, and the entropy: how unsure it was.",
      task: "Click a token (or press Enter on it) to look into its round.",
    },
    stop: {
      title: "When to stop guessing?",
      text:
        "A long draft pays off while the guesses are right. Everything after the first wrong one is wasted work. The paper's controller draws θ " +
        "from its belief, a Beta curve, and tosses a coin that says “go on” with that probability.",
      task: "Step through one round with the . key (or choose “stage” and use the arrows) and watch the draw land on the curve.",
    },
    verify: {
      title: "One pass checks them all",
      text:
        "The remaining layers read all guesses at once, starting from the hidden states that drafting left behind. On the clock, a round is " +
        "drafting, then one verify pass, then a little overhead.",
      question: "Why is checking five tokens in one pass faster than writing five tokens?",
      options: [
        "Most of a pass is spent reading the weights from memory, and that happens once",
        "Checking uses a smaller model",
        "Easy tokens are not checked",
      ],
      because: "Up to a point, the weights are read once per pass, however many tokens it looks at. Checking uses all layers and skips nothing.",
    },
    accept: {
      title: "The longest correct start stays",
      text:
        "Guesses are accepted up to the first one that the full model would not have written. That one is replaced by the full model's own " +
        "token. If all guesses are right, the pass yields one more token for free: the bonus.",
      question: "What does the controller learn from guesses that came after a rejection?",
      options: ["Nothing: they followed a wrong token and were never tested", "They count as failures", "They count as half a failure"],
      because: "If they counted as failures, long drafts would be punished for nothing. Only tested guesses change the belief.",
    },
    lossless: {
      title: "The text does not change",
      text:
        "Speculation must not cost quality. Here both texts are laid over each other, and the verdict says how sure it is: exact by construction, " +
        "exact as observed, or where the texts part and how close the decision was.",
      question: "If every guess were wrong, what would the text be?",
      options: ["The same text, only slower", "A worse text", "A random text"],
      because: "Every token that stays is one the full model would have written. Bad guesses cost time and nothing else.",
    },
    learn: {
      title: "The belief learns from every verdict",
      text:
        "Each accepted guess adds to α, a rejected one adds to β. The ribbon shows how the belief narrows from round to round. The ticks below " +
        "it are the successes and failures it learned from.",
      task: "Press X to jump to a rejection and watch the belief drop after it.",
    },
    length: {
      title: "Was the draft as long as it should have been?",
      text: "Each column is a round, as high as its draft was long. The line shows the best length in hindsight: all right guesses, no wrong one.",
      question: "A column is accepted in full, and the line has an arrow pointing up. What does that tell you?",
      options: ["The draft may have been too short", "The draft was too long", "The draft was exactly right"],
      because: "Nothing was rejected, so one more guess might have been right too. The trace cannot know.",
    },
    law: {
      title: "When does it pay off?",
      text:
        "The speedup law: more acceptance helps, more expensive drafts hurt, and the best length depends on both. The star is the run you " +
        "have just watched.",
      task: "Move the sliders until the best choice is no drafts at all.",
    },
    prices: {
      title: "What other rules would have given",
      text:
        "This run's own drafts, replayed under every fixed length and every controller, at the prices that its rounds were measured at. Regret " +
        "is the time lost against the best lengths in hindsight.",
      question: "A fixed length is the fastest row of this table. Why not use it always?",
      options: ["Nobody knows it before the run, and another text has a different one", "A fixed length changes the text", "Controllers cost nothing"],
      because: "The table is hindsight. A controller has to find a good length while the text is written.",
    },
    drafters: {
      title: "Who guesses",
      text:
        "Early exit is one drafter of many. Others copy from the text, skip layers, or are small heads trained on this frozen model: glide, " +
        "hidden-transfer, chimera, feature and block. Settings, Drafter chooses one for the next run; step 2 of the microscope says what it does.",
      question: "You choose a drafter that guesses badly. What changes?",
      options: ["The clock and the guesses, but not one word of the text", "The text gets worse", "The model learns from it"],
      because: "Whichever drafter guesses, every token that stays is the full model's own choice.",
    },
    takeAway: {
      title: "Take the run with you",
      text:
        "The trace has every event of the run and opens again here, in the terminal (`replay`) and, as Perfetto, in a trace viewer. On your own " +
        "model: `--model` and `--exit-layer`; as a draft model for other servers: `export-draft`.",
    },
    yours: {
      title: "Your turn",
      text:
        "Write a prompt and run it: code, a poem, a list. See where guessing is easy. T brings back this tour, G opens the glossary, ? lists " +
        "the keys. The method is from Liu et al., arXiv 2406.03853; the README says what is theirs and what is ours.",
    },
  },
};
