// The words of the race of several precisions.
import { number } from "../../lib/numbers.js";

export const precisions = {
  title: "Precision race",
  start: "Race them",
  note:
    "The same request with weights of several precisions, plainly and with drafts in each. Fewer bits make a plain step cheaper; what a pass over " +
    "several rows costs beside it decides what drafts gain. Texts of two precisions may differ: they are two models. Within one they must not.",
  names: { none: "unquantised", q8: "q8", q4: "q4" },
  methods: { vanilla: "plain", eesd: "drafts" },
  loading: (name) => `loading ${name}...`,
  running: "racing...",
  finished: "Done. One text is an impression, not a benchmark.",
  columns: ["weights", "plain tok/s", "drafts tok/s", "speedup", "accepted", "text"],
  rows: (count) => (count === "1" ? "1 row" : `${count} rows`),
  lesson: (name, price, speedup) =>
    `${name}: a pass over 4 rows takes ${number(price)} plain steps, and drafts make the text ${number(speedup)} times as fast.`,
  texts: ({ identical, level }) => (level === "same-distribution" ? "same distribution" : identical ? "identical" : "differs"),
};
