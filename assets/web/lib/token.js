// What can become of a token, and what belongs to the text. No DOM.

export const STATES = ["pending", "accepted", "rejected", "untested", "correction", "bonus"];
const KEPT = new Set(["accepted", "correction", "bonus", "plain"]);
const SPECIAL = /^(<\|[\w ]+\|>|<\/?s>|<eos>)$/;

export const isKept = ({ state }) => KEPT.has(state);

// Tokens that say something about the text, such as its end, and are not part of it. Only where the trace does not name their ids is it told
// from how they look.
export const isSpecial = (text) => SPECIAL.test(text);

export const isText = (token) => isKept(token) && !token.special;
export const textOf = (tokens) => tokens.map(({ text }) => text).join("");
