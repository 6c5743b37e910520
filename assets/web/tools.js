// Small tools shared by every file: elements, numbers in words, and work that waits for the next frame.
(() => {
  "use strict";
  const EESD = (window.EESD = window.EESD || {});

  // Prompts and model text are hostile: elements are only ever built this way, and strings become text nodes.
  EESD.el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  EESD.svg = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  const ICONS = {
    play: "M4 2 L13 8 L4 14 Z",
    pause: "M3 2 H6.5 V14 H3 Z M9.5 2 H13 V14 H9.5 Z",
    restart: "M3 2 H5 V7 L13 2 V14 L5 9 V14 H3 Z",
    back: "M11 2 L4 8 L11 14 Z",
    forward: "M5 2 L12 8 L5 14 Z",
    full: "M2 2 H7 V4 H4 V7 H2 Z M9 2 H14 V7 H12 V4 H9 Z M2 9 H4 V12 H7 V14 H2 Z M12 9 H14 V14 H9 V12 H12 Z",
    table: "M2 3 H7 V5 H2 Z M9 3 H14 V5 H9 Z M2 7 H7 V9 H2 Z M9 7 H14 V9 H9 Z M2 11 H7 V13 H2 Z M9 11 H14 V13 H9 Z",
  };
  EESD.icon = (name) => EESD.svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, EESD.svg("path", { d: ICONS[name] }));

  EESD.setText = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  // Numbers as people read them; a dash where there is none.
  EESD.number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
  EESD.seconds = (value) => `${EESD.number(value, value < 10 ? 2 : 1)} s`;
  EESD.plural = (count, word, ending = "s") => `${count} ${word}${count === 1 ? "" : ending}`;

  // A frame if one comes; a timer otherwise, because hidden tabs get no frames and must keep up with the run.
  EESD.soon = (work) => {
    let done = false;
    const once = () => {
      if (done) return;
      done = true;
      work();
    };
    if (!document.hidden) requestAnimationFrame(once);
    setTimeout(once, document.hidden ? 50 : 250);
  };

  // Text that was packed with gzip and spelled in base64.
  EESD.unpack = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  EESD.wantsLessMotion = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
})();
