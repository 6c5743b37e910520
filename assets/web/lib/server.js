// A small request to the server.
import { inWords } from "./refusals.js";
import { say } from "./words.js";

// Sends JSON and returns JSON. Throws an Error with a readable message; its `refused` is true if the server answered with a refusal.
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
