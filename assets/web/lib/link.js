// A link holds the form (prompt, seed, settings, earlier turns of a conversation) and the view (recorded or live, round, playhead, speed,
// presenter mode). The browser writes and reads it, so it needs no server state and works after a restart. Its values are checked here, and
// again by the server when Run is pressed.
import { OPENING_SPEED, SPEEDS } from "./player.js";
import { lengthOf, turnsOf } from "./turns.js";
import { language } from "./words.js";

const WHOLE = /^[+-]?\d{1,16}$/;

// The view as a table of fields like the form's. `at`: the playhead's position in seconds.
export const VIEW = [
  { name: "view", kind: "choice", choices: ["recorded", "live"], optional: true },
  { name: "round", kind: "whole", low: 1, high: 100_000, optional: true },
  { name: "at", kind: "number", low: 0, high: 100_000, optional: true },
  { name: "speed", kind: "choice", choices: SPEEDS.map(String), optional: true },
  { name: "present", kind: "choice", choices: ["1"], optional: true },
  { name: "lang", kind: "choice", choices: language.names, optional: true },
];

// The values of VIEW that differ from how the page opens by default, in its order. A run opened from a file is in no link.
export function viewOf(view, opening) {
  const { player, recording, chosen } = view;
  const usual = recording && recording === opening ? OPENING_SPEED : 1;
  const speed = player.speed === usual ? null : player.speed;
  const look = [speed, view.presenting ? 1 : null, language.now === "en" ? null : language.now];
  if (!recording) return ["live", chosen, null, ...look];
  if (recording !== opening) return [null, null, null, ...look];
  const rests = !player.playing && (chosen || player.time < player.timeline.duration);
  return [null, chosen, rests ? player.time.toFixed(3) : null, ...look];
}

const spelled = (value) => (typeof value === "boolean" ? String(Number(value)) : String(value ?? ""));

// `values` are those of the form, in the order of its fields.
export function write(fields, values, base) {
  const url = new URL(base);
  url.search = "";
  url.hash = "";
  fields.forEach(({ name, optional }, i) => {
    const text = spelled(values[i]);
    if (text !== "" || !optional) url.searchParams.set(name, text);
  });
  return url.href;
}

// The value of a parameter; undefined if it is not valid.
function valueOf({ kind, low, high, choices, optional }, text) {
  if (kind === "flag") return { 0: false, 1: true }[text];
  if (kind === "choice") return choices.includes(text) ? text : undefined;
  if (kind === "text") return text.length <= high && (optional || text.trim()) ? text : undefined;
  if (kind === "history") return turnsOf(text) && lengthOf(turnsOf(text)) <= high ? text : undefined;
  if (text === "" && optional) return null;
  const value = Number(text);
  const wellSpelled = kind === "whole" ? WHOLE.test(text) : text.trim() !== "" && text.length <= 24;
  return wellSpelled && Number.isFinite(value) && value >= low && value <= high ? value : undefined;
}

// {values, refused}: a value per field (undefined: leave it as it is), and the names of invalid parameters.
export function read(fields, search) {
  const given = new URLSearchParams(search);
  const [values, refused] = [[], []];
  for (const field of fields) {
    const text = given.get(field.name);
    const value = text === null ? undefined : valueOf(field, text);
    if (text !== null && value === undefined) refused.push(field.name);
    values.push(value !== undefined && field.name === "seed" ? String(value) : value);
  }
  return { values, refused };
}
