// The words of the view itself. Functions fill numbers in.
import { number, plural, seconds } from "../../lib/numbers.js";

const against = "against this engine without drafts";

export const states = { pending: "pending", accepted: "accepted", rejected: "rejected", untested: "untested", correction: "correction", bonus: "bonus" };

export const levels = { "exact-by-construction": "exact by construction", "exact-as-observed": "exact as observed", "same-distribution": "same distribution" };

export const page = {
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

export const race = {
  title: "The race",
  against,
  legend: "token states",
  hide: "hide rejected drafts",
  disturbed: ({ share, first }) =>
    `Drafts made worse on purpose: from new token ${first + 1} on, each draft was replaced by a random token with probability ${share}. ` +
    "Drafts cost time but never change the text.",
  shared: (texts) =>
    `Device time is shared: up to ${texts} texts are written in the same passes here, and each clock counts the passes of all of them. ` +
    "It changes no text.",
  units: { clock: "s", rate: "tok/s", length: "tok/round" },
  lanes: { eesd: "EESD", vanilla: "Vanilla" },
  text: (lane) => `${lane}: text. Arrow keys move from token to token.`,
  prefill: (time) => `prefill ${seconds(time)}`,
  prefillHint: "time to read the prompt; not on the clock",
  preparing: "preparing...",
  atStart: "at the start",
  played: (speed) => `played at ${speed}x speed`,
  loading: (seconds) => `The model is loading: ${seconds} s so far (only once; no clock counts it).`,
  waitingForWeights: (place, seconds) => `waiting for the device: place ${place}; a model is being loaded, ${seconds} s so far`,
  waiting: (place, wait) => `waiting for the device: place ${place}${wait > 0 ? `, about ${Math.ceil(wait)} s` : ""}`,
  progress: (round, tokens) => `round ${round}, ${plural(tokens, "token")}`,
  finished: "finished",
  over: (status, eesd, vanilla, speedup) =>
    `Run over: ${status}. EESD ${number(eesd, 0)} tokens per second, vanilla ${number(vanilla, 0)}.` +
    (Number.isFinite(speedup) ? ` Speedup ${number(speedup)} ${against}.` : ""),
  broken: (line) => `Line ${line} of the trace cannot be read; the run is shown up to there.`,
  endOfText: "end of text",
  earlier: (tokens) => `scroll up for ${tokens} earlier tokens ... `,
};

export const verdict = {
  stopped: (how) => `stopped ${how || "by you"}`,
  same: "same distribution: the texts may differ, the probabilities do not",
  fork: (token, margin) => `differs at token ${token}${margin === null ? "" : `, margin ${number(margin, 4)}`}`,
  differ: "the texts differ",
  identical: (tokens, level) => `identical: all ${plural(tokens, "token")}, ${levels[level] ?? level}`,
};

export const conversation = {
  title: "the conversation so far",
  you: "You",
  model: "Reply",
  label: "your next request",
  keys: "Enter sends, Shift+Enter begins a new line",
  send: "Send",
  ready: "Your next request",
  waiting: "Your next request, after this reply",
  early: "This reply is still being written: send your request when it is complete",
  ended: "This reply is incomplete: press Run to have it written again",
};

export const tip = {
  states: {
    pending: "draft, not verified yet",
    accepted: "draft, accepted",
    rejected: "draft, rejected",
    untested: "draft, untested: came after a rejection",
    correction: "correction by the target",
    bonus: "bonus from the target",
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

export const intro = {
  title: "what you will see",
  invitation: "Alongside, the same model writes the same text one token at a time. One text, two clocks: press Run.",
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
    ["3  Learn", "Every check moves a curve of belief. A draw from it decides: go on guessing, or stop."],
  ],
  sample: { start: "The cat sat", right: [" on", " the"], wrong: " sofa", correction: " mat", draw: "theta 0.78, chi 1: go on" },
};

export const scrubber = {
  title: "playback",
  play: "play (space)",
  pause: "pause (space)",
  restart: "play from the start (R)",
  back: "one step back",
  forward: "one step forward",
  kind: "length of a step",
  kinds: { round: "round", token: "token", event: "stage", rejection: "rejection" },
  speed: "speed",
  times: (speed) => `${speed}x`,
  slider: "seconds on the lanes' clocks",
  live: "live",
  follow: "back to what is being written now",
  keys: "keys (?)",
  present: "presenter mode (F)",
  takeAway: "take it away",
  takeAwayHint: "this run as a link, a web page, a table, a citation",
  where: (time, round, rounds) => `${number(time)} s${round ? `, round ${round} of ${rounds}` : ""}`,
};

export const keys = {
  title: "Keys",
  note: "They do nothing while you type in a field.",
  close: "close",
  list: [
    ["Space", "play or pause"],
    ["← →", "one round back or forward"],
    ["Shift + ← →", "one token"],
    [", .", "one stage of a round: a draft, the verify pass ..."],
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
