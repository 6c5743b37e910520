// A question to the room and its answers: a bar for every answer, with the right one and the controller's guess marked.
import { el } from "./elements.js";
import { say } from "./words.js";

const words = say.room;

export const MOST_COUNT = 6; // the last answer of "how many" means this many or more

export const named = (kind, choice) => (kind === "accepted" ? words.accepted[choice] : words.count(choice, MOST_COUNT));

// The most frequent answers: several if they tie, none if nobody answered.
export function answersOf(counts) {
  const most = Math.max(0, ...counts);
  return counts.map((count, choice) => (most && count === most ? choice : null)).filter((choice) => choice !== null);
}

export function tally({ kind, choices, truth, guess, belief }, counts) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  const over = truth !== undefined;
  const rows = Array.from({ length: choices }, (_, choice) => {
    const count = counts[choice] ?? 0;
    const bar = el("span", { class: "r-bar", style: `--r-share: ${all ? count / all : 0}` });
    const marks = [over && choice === truth && words.truth, over && choice === guess && words.guess].filter(Boolean).join(", ");
    const cells = { name: named(kind, choice), count: String(count), mark: marks };
    const [name, number, mark] = Object.entries(cells).map(([own, text]) => el("span", { class: `r-${own}` }, text));
    return el("li", { class: over && choice === truth ? "r-row r-true" : "r-row" }, name, bar, number, mark);
  });
  const parts = [el("p", { class: "r-asked" }, words.questions[kind]), el("ol", { class: "r-rows" }, ...rows)];
  if (over && belief !== null) parts.push(el("p", {}, words.belief(belief)));
  return el("div", {}, ...parts);
}
