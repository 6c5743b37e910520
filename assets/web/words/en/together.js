// The words of several texts at once.
import { number, plural, seconds } from "../../lib/numbers.js";

const ms = (value) => `${number(1e3 * value, value < 0.01 ? 2 : 1)} ms`;

export const together = {
  title: "Several texts at once",
  start: "Write them",
  note:
    "The same texts, up to 48 tokens each with the settings above, in shared passes: by EMS-SD, which has no padding; by the padded form, which gives " +
    "every text as many rows as the one with the most; and plainly, without drafts. The forms take turns on one device. The device is shared: each " +
    "clock counts its own form's passes, for all texts together.",
  texts: "how many texts",
  count: (count) => plural(count, "text"),
  running: "writing...",
  progress: "share of all tokens that is written",
  finished: (same) => {
    if (same.includes(null)) return "Done. By rejection sampling the texts may differ, their probabilities do not.";
    return same.every(Boolean) ? "Done. All three forms wrote the same texts." : "Done. A text differs: rounding swapped two nearly equal candidates.";
  },
  fromTrace: (count) => `This trace has ${plural(count, "text")}. Lanes and charts above show the first one.`,
  form: "form",
  forms: { ems: "EMS-SD", padded: "padded", vanilla: "plain" },
  reading: (clock, rate, over) => `${seconds(clock)}, ${number(rate, 0)} tok/s${Number.isFinite(over) ? `, ${number(over)}x plain` : ""}`,
  kinds: { plain: "plain step", padding: "padding: computed for nobody" },
  grid: "Tokens by text and pass: a line is a text, a block of columns is a pass. Up and down arrows go from text to text, Enter opens one.",
  opened: "The text that is open",
  line: ({ row, written, verified, drafted, accepted }) =>
    `text ${row + 1}: ${plural(written, "token")} in ${plural(verified, "pass", "es")}` +
    (drafted ? `, ${accepted} of ${plural(drafted, "draft")} accepted` : ""),
  about: ({ row, written, verified }) => `Text ${row + 1}: ${plural(written, "token")} in ${plural(verified, "pass", "es")}.`,
  price: (texts, over, own, plain) =>
    `${over >= 1 ? "Drafting pays" : "Drafting does not pay"} with ${plural(texts, "text")} here: EMS-SD has ${number(over)} times the tokens per second ` +
    `of plain decoding. Its passes have ${number(own.rows, 1)} rows and take ${ms(own.seconds)} with drafting, for ${number(own.tokens, 1)} tokens; ` +
    `plain ones have ${number(plain.rows, 1)}, take ${ms(plain.seconds)} and write ${number(plain.tokens, 1)}. ${rowOf(texts, own)}`,
  alone: (texts, own) =>
    `A pass has ${number(own.rows, 1)} rows and takes ${ms(own.seconds)} with drafting, for ${number(own.tokens, 1)} tokens of ${plural(texts, "text")}` +
    `${own.padding ? `; ${number(100 * own.padding, 0)} % of the rows are padding` : ""}. ${rowOf(texts, own)}`,
};

// Twice as many rows as texts: one draft for every text.
function rowOf(texts, { verify }) {
  const [few, many] = [texts, 2 * texts].map((rows) => verify[rows - 1]);
  if (!(few > 0 && many > 0)) return "";
  return `Rows have a price: a verify pass over ${2 * texts} took ${ms(many)}, one over ${texts} took ${ms(few)} (measured at the start).`;
}
