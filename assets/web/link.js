// A link holds the form: prompt, seed, settings. It is written and read in the browser, so it needs nothing of the server
// and works after a restart. What a link asks for is checked here, and again by the server when Run is pressed.
(() => {
  "use strict";
  const WHOLE = /^[+-]?\d{1,16}$/;

  const spelled = (value) => (typeof value === "boolean" ? String(Number(value)) : String(value ?? ""));

  // `values` are the form's, in the order of its fields.
  function write(fields, values, base) {
    const url = new URL(base);
    url.search = "";
    url.hash = "";
    fields.forEach(({ name, optional }, i) => {
      const text = spelled(values[i]);
      if (text !== "" || !optional) url.searchParams.set(name, text);
    });
    return url.href;
  }

  // The value that a parameter stands for; undefined if it cannot be.
  function valueOf({ kind, low, high, choices, optional }, text) {
    if (kind === "flag") return { 0: false, 1: true }[text];
    if (kind === "choice") return choices.includes(text) ? text : undefined;
    if (kind === "text") return text.length <= high && text.trim() ? text : undefined;
    if (text === "" && optional) return null;
    const value = Number(text);
    const wellSpelled = kind === "whole" ? WHOLE.test(text) : text.trim() !== "" && text.length <= 24;
    return wellSpelled && Number.isFinite(value) && value >= low && value <= high ? value : undefined;
  }

  // {values, refused}: a value per field of the form (undefined: leave it), and the names of parameters that cannot be.
  function read(fields, search) {
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

  window.EESD.link = { write, read };
})();
