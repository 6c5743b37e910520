// Asking the server for something small.
import { inWords } from "./refusals.js";
import { say } from "./words.js";

// Sends JSON, gives JSON. Throws an Error in words; `refused`: the server has answered that it will not.
export async function post(address, values) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values) });
  } catch {
    throw new Error(say.studies.lost);
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw Object.assign(new Error(said.error ? inWords(String(said.error)) : say.studies.lost), { refused: answer.status === 400 });
}
