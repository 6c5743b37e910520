// A citation of a run, with everything needed to repeat it.
import { number, sum } from "./numbers.js";
import { say } from "./words.js";

const listed = (values) =>
  Object.entries(values ?? {})
    .filter(([, value]) => String(value) !== "") // no system prompt, no earlier turns
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

export function citation({ head, records }) {
  const starts = records.filter(({ type }) => type === "run_started");
  const started = starts.find(({ lane }) => lane === "eesd") ?? starts[0];
  const result = records.find(({ type }) => type === "race_finished");
  const { controller, controller_settings: own, ...settings } = started?.settings ?? {};
  const isWritten = ({ type, lane }) => type === "tokens_committed" && lane === started?.lane;
  const end = records.find(({ type, lane }) => type === "run_finished" && lane === started?.lane);
  const written = end?.new_tokens ?? sum(records.filter(isWritten), ({ ids }) => ids.length);
  const speedup = () => `${result.level.replaceAll("-", " ")}, speedup ${number(result.speedup)}x against this engine without drafts`;
  return [
    `EESD Live${head?.date ? `, run of ${head.date}` : ""}.`,
    `Prompt: ${JSON.stringify(started?.prompt ?? "")}`,
    `Model: ${started?.model}, ${started?.device} ${started?.dtype}${head?.machine ? `, ${head.machine}` : ""}`,
    `Settings: ${listed(settings)}`,
    `Controller: ${[controller?.controller, listed(own)].filter(Boolean).join(", ")}`,
    `Versions: ${listed(started?.versions)}`,
    `Result: ${written} tokens, ${result ? speedup() : "not finished"}`,
    "",
    say.takeaway.paper,
  ].join("\n");
}

export const recordedWhere = (head) => (head?.machine ? `${head.date}, ${head.machine}, ${say.takeaway.cores(head.cores)}` : say.takeaway.nowhere);
