// Number formats of the microscope, the same in every language.
import { number } from "../lib/numbers.js";

export const count = (value) => number(value, Number.isInteger(value) ? 0 : 2); // alpha and beta are whole numbers unless a discount applies
export const exact = (value) => number(value, Number.isInteger(value) ? 0 : 3); // enough digits to show small changes

export function shifts(before, after) {
  const moved = [
    ["α", before.alpha, after.alpha],
    ["β", before.beta, after.beta],
  ].filter(([, was, is]) => was !== is);
  return moved.map(([name, was, is]) => `${name} ${count(was)} → ${count(is)}`);
}
