// The drafters: where each one's guesses come from, and what it keeps and needs.

const EXIT = "It needs an exit layer.";
const KEEPS = "It keeps the exit layer's own keys and values of the text.";

export const drafters = {
  own: {
    "early-exit": ["What the model's first layers and the exit layer guess.", `${KEEPS} ${EXIT}`],
    "prompt-lookup": ["What followed the last few tokens where they stood before in the text.", "It keeps nothing, and no layer runs."],
    "layer-skip": ["What the model guesses without some of its attention and feed-forward parts.", "It keeps nothing of its own."],
    swift: [
      "What the model guesses when it skips some of its parts. It searches for the best parts to skip while it writes.",
      "It keeps the best set of parts so far.",
    ],
    clasp: ["What the model guesses without some of its layers, chosen by the last token's hidden states.", "It keeps the set of layers."],
    "ffn-skip": ["What the model guesses without the feed-forward parts that would change little.", "It keeps nothing of its own."],
    recycling: ["What the model last thought would follow each token: a look into a table.", "It keeps the table, and no layer runs."],
    "phrase-pool": ["Phrases of the text and of earlier passes that go on from the last tokens.", "It keeps a pool of phrases, and no layer runs."],
    ouroboros: ["What the first layers and the exit layer guess, and phrases of a pool behind that.", `It keeps a pool of phrases. ${EXIT}`],
    cape: ["What the first layers and the exit layer guess, with more candidates where they are less sure.", `${KEEPS} ${EXIT}`],
    gsd: ["What the first layers and the exit layer guess, with branches that go on as the spine does.", `${KEEPS} ${EXIT}`],
    mixed: ["Copies from the text where that promises more tokens, what a trained head guesses elsewhere.", `It keeps how often copies were right. ${EXIT}`],
    hedge: ["What one of four drafters guesses: usually the one that would have earned most so far.", `It keeps what each would have earned. ${EXIT}`],
    disturbed: ["What the first layers and the exit layer guess, some of it made random on purpose.", EXIT],
    glide: [
      "What one small decoder layer guesses that looks at the keys and values which the model itself keeps of the text.",
      "It keeps no keys and values of its own. It needs a head that was trained for this model.",
    ],
    "hidden-transfer": [
      "Pseudo states of the next places, made from the last verified token's state at an upper layer; they run through the layers above it.",
      "It keeps the state of the last verified token. It needs a head that was trained for this model.",
    ],
    chimera: [
      "What a small network guesses from the last three tokens and the model's state of the last verified one; it has no attention.",
      "It keeps one state. It needs a head that was trained for this model.",
    ],
    feature: [
      "What one decoder layer guesses from the last token and the model's states at three depths; where these are not verified yet, it reads its own output.",
      "It keeps its layer's keys and values. It needs a head that was trained for this model.",
    ],
    block: [
      "One pass over a block of masks proposes all tokens of the round at once; then they are chosen from left to right, each with a look at the one before.",
      "It keeps its layer's keys and values of the verified text. It needs a head that was trained for this model.",
    ],
  },
  controllers: {
    beta: "The paper's: after every draft a coin, whose bias θ is drawn from a Beta belief, says go on or stop.",
    calibrated: "The coin of beta, with a bias for how confident the drafter is of this very token.",
    throughput: "Goes on while one more draft is worth its measured time; learns what the drafter's certainty is worth.",
    fixed: "The same number of drafts in every round; learns nothing.",
    heuristic: "Two drafts more after a round with every draft accepted, otherwise one less.",
    threshold: "Stops where the drafter's confidence is below a threshold.",
    "adaptive-threshold": "A threshold that moves towards a wanted acceptance rate.",
    entropy: "Stops where the drafter's entropy is high.",
    ucb: "Tries all lengths and keeps to those that earned most (a bandit).",
    tapout: "A bandit that chooses one of several stop rules for every round.",
  },
  missing: (names, model) => `Not offered: ${names.join(", ")}. No such head was trained for ${model}; the command distill --head trains one.`,
};
