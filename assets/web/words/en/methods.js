// The words of the race of several methods.
import { number, plural } from "../../lib/numbers.js";

export const methods = {
  title: "Methods race",
  start: "Race them",
  note:
    "Vanilla and up to four methods write the same text with the settings above, on one device in turn. Each clock counts its own work only. " +
    "A controller's name alone means early exit with that controller.",
  against: "vanilla against",
  method: (i) => `method ${i}`,
  none: "nobody",
  about: "What each of them is, keeps and needs",
  names: { vanilla: "vanilla" },
  recorded: ({ date, machine, cores }, { model, dtype, prompt }) =>
    `RECORDED on ${date}, ${machine}, ${plural(cores, "core")}, ${model} in ${dtype}: “${prompt} ...” Your own race takes its place.`,
  running: "racing...",
  finished: "Done. One text is an impression, not a benchmark.",
  reading: (clock, rate, length, over) => `${number(clock)} s, ${number(rate, 0)} tok/s, ${number(length)} tok/round${over ? " ✓" : ""}`,
  columns: ["method", "seconds", "tok/s", "speedup", "tok/round", "accepted", "text"],
  texts: ({ name, identical, level }) => {
    if (name === "vanilla") return "the reference";
    if (level === "same-distribution") return "same distribution";
    return identical ? "identical" : "differs";
  },
};
