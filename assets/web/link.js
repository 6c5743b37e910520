// A link holds the form: prompt, seed, settings. It is written from the fields on the page and read when the page opens, so it needs
// nothing of the server and works after a restart. What a link asks for is checked here, and again by the server when Run is pressed.
(() => {
  "use strict";
  const inputs = (element) => [...document.querySelectorAll(`#${element} :is(input, textarea)`)];
  const WHOLE = /^[+-]?\d{1,16}$/;

  // What the visitor sees in a field, as text.
  function shown({ element, kind }) {
    const [first, ...others] = inputs(element);
    if (kind === "flag") return first?.checked ? "1" : "0";
    if (kind === "choice") return [first, ...others].find((input) => input?.checked)?.value ?? "";
    return first?.value ?? "";
  }

  function write(fields, base) {
    const url = new URL(base);
    url.search = "";
    url.hash = "";
    for (const field of fields) {
      const text = shown(field);
      if (text !== "" || !field.optional) url.searchParams.set(field.name, text);
    }
    return url.href;
  }

  // The value that a parameter stands for; undefined if it cannot be.
  function valueOf({ kind, low, high, choices, optional }, text) {
    if (kind === "flag") return { 0: false, 1: true }[text];
    if (kind === "choice") return choices.includes(text) ? text : undefined;
    if (kind === "text") return text.length <= high && text.trim() ? text : undefined;
    if (text === "" && optional) return null;
    const value = Number(text);
    const spelled = kind === "whole" ? WHOLE.test(text) : text.trim() !== "" && text.length <= 24;
    return spelled && Number.isFinite(value) && value >= low && value <= high ? value : undefined;
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
