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

  EESD.setText = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  // Numbers as people read them; a dash where there is none.
  EESD.number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
  EESD.seconds = (value) => `${EESD.number(value, value < 10 ? 2 : 1)} s`;
  EESD.plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

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
})();
