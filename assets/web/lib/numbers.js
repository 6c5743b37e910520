// Numbers formatted for reading; a dash for a missing one.

export const number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
export const seconds = (value) => `${number(value, value < 10 ? 2 : 1)} s`;
export const plural = (count, word, ending = "s") => `${count} ${word}${count === 1 ? "" : ending}`;
export const sum = (items, valueOf) => items.reduce((total, item) => total + valueOf(item), 0);
