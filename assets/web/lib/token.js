// The states of a token, and which tokens belong to the text. No DOM.

export const STATES = ["pending", "accepted", "rejected", "untested", "correction", "bonus"];
const KEPT = new Set(["accepted", "correction", "bonus", "plain"]);
const SPECIAL = /^(<\|[\w ]+\|>|<\/?s>|<eos>)$/;

export const isKept = ({ state }) => KEPT.has(state);

// Tokens that mark something, such as the end, and are not part of the text. They are recognised by their look only if the trace does not list
// their ids.
export const isSpecial = (text) => SPECIAL.test(text);

export const isText = (token) => isKept(token) && !token.special;
export const textOf = (tokens) => tokens.map(({ text }) => text).join("");
