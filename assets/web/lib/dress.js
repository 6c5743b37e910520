// How a token looks: its state is a CSS class that marks the letters. The spaces around them stay unmarked, so that no piece of a mark hangs
// over at the end of a line.
import { el } from "./elements.js";
import { isSpecial } from "./token.js";
import { say } from "./words.js";

const END_OF_TEXT = new Set(["<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "</s>", "<eos>"]);

function chipOf({ text, special = isSpecial(text) }) {
  if (!special) return null;
  return END_OF_TEXT.has(text) ? say.race.endOfText : text.replace(/[<>|/]/g, "").replaceAll("_", " ");
}

export function dress(node, token) {
  const chip = chipOf(token);
  const text = chip ?? token.text;
  const newline = !text.trim() && text.includes("\n");
  const letters = newline ? "" : text.trim() || text;
  const at = text.indexOf(letters);
  node.className = `e-tok e-${token.state}${chip ? " e-chip" : ""}${newline ? " e-newline" : ""}${token.sibling ? " e-sibling" : ""}`;
  if (!node.firstChild) node.append("", el("span", { class: "e-mark" }, ""), "");
  const [before, mark, after] = node.childNodes;
  before.data = text.slice(0, at);
  mark.firstChild.data = letters;
  after.data = text.slice(at + letters.length);
  return node;
}
