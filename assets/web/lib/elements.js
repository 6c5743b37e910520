// The only place where elements are built. Prompts and model text are hostile, so strings become text nodes.

export const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// `look` is an extra class, `more` further attributes.
export function button(content, act, look = "", more = {}) {
  const node = el("button", { type: "button", class: `e-button ${look}`.trim(), ...more }, content);
  node.addEventListener("click", act);
  return node;
}

export const panelHead = (title, ...rest) => el("div", { class: "e-panel-head" }, el("h2", {}, title), ...rest);

export const tableHead = (columns) => el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name))));

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  play: "M4 2 L13 8 L4 14 Z",
  pause: "M3 2 H6.5 V14 H3 Z M9.5 2 H13 V14 H9.5 Z",
  restart: "M3 2 H5 V7 L13 2 V14 L5 9 V14 H3 Z",
  back: "M11 2 L4 8 L11 14 Z",
  forward: "M5 2 L12 8 L5 14 Z",
  full: "M2 2 H7 V4 H4 V7 H2 Z M9 2 H14 V7 H12 V4 H9 Z M2 9 H4 V12 H7 V14 H2 Z M12 9 H14 V14 H9 V12 H12 Z",
  table: "M2 3 H7 V5 H2 Z M9 3 H14 V5 H9 Z M2 7 H7 V9 H2 Z M9 7 H14 V9 H9 Z M2 11 H7 V13 H2 Z M9 11 H14 V13 H9 Z",
};

export const icon = (name) => svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

// A dialog keeps key presses to itself: Escape closes the dialog and does nothing else.
export function dialog(look, attributes, ...parts) {
  const node = el("dialog", { class: look, ...attributes }, ...parts);
  node.addEventListener("keydown", (event) => event.stopPropagation());
  return node;
}
