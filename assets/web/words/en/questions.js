// The three questions of the first screen.
import { number, plural } from "../../lib/numbers.js";

export const questions = {
  title: "Three questions",
  hint: "go to the panel that answers it",
  ask: { faster: "Is it really faster?", same: "Is it the same text?", why: "Why this many drafts?" },
  times: (speedup) => `${number(speedup)}x on this run; when not?`,
  identical: (tokens) => `identical: all ${plural(tokens, "token")}`,
  comparing: "compared at the end",
  round: (number, drafts) => `round ${number}: ${drafts}`,
};
