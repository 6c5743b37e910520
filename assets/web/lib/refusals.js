// The server says in English why it refused or ended a run. A language may have a table of patterns for such lines with their translations; a
// line that matches none stays as it is.
import { say } from "./words.js";

export function inWords(message) {
  for (const [pattern, words] of say.refusals) {
    const found = pattern.exec(message);
    if (found) return words(...found.slice(1));
  }
  return message;
}
