// The server says in English why it refused or ended a run. A language may have a table of what such lines look like and how it says them; a line
// that is in no table stays as it is.
import { say } from "./words.js";

export function inWords(message) {
  for (const [pattern, words] of say.refusals) {
    const found = pattern.exec(message);
    if (found) return words(...found.slice(1));
  }
  return message;
}
