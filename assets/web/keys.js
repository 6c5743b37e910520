// Keys for the playhead, and the list of them. They rest while somebody types, and leave alone what a control needs for itself.
(() => {
  "use strict";
  const { el, words: { keys: words } } = window.EESD;
  const FIELDS = "input:not(.e-slider):not([type=checkbox]), textarea, select:not(.e-select), [contenteditable]:not([contenteditable=false])";
  const PRESSED = "button, a, summary, label, input[type=checkbox], [role=button], [role=option]"; // space has a meaning there
  const SCROLLED = ".e-table, .w-scroll"; // arrows have one there

  // Asks the view anew at every key: its parts are made again when the language changes.
  const commands = (view) => ({
    " ": () => view.player.toggle(),
    ArrowRight: (event) => view.player.step(event.shiftKey ? "token" : "round", 1),
    ArrowLeft: (event) => view.player.step(event.shiftKey ? "token" : "round", -1),
    ".": () => view.player.step("event", 1),
    ",": () => view.player.step("event", -1),
    x: () => view.player.step("rejection", 1),
    X: () => view.player.step("rejection", -1),
    r: () => view.player.restart(),
    R: () => view.player.restart(),
    f: () => view.present(),
    F: () => view.present(),
    t: () => view.tour.toggle(),
    T: () => view.tour.toggle(),
    g: () => view.dialogs.glossary.showModal(),
    G: () => view.dialogs.glossary.showModal(),
    "?": () => view.dialogs.keys.showModal(),
    Escape: () => (view.tour.open ? view.tour.end() : view.present(false)),
  });

  function legend() {
    const close = el("button", { type: "button", class: "e-button" }, words.close);
    const rows = words.list.flatMap(([key, meaning]) => [el("dt", {}, key), el("dd", {}, meaning)]);
    const list = el("dialog", { class: "e-dialog e-key-list", "aria-label": words.title }, el("h2", {}, words.title), el("dl", {}, ...rows), el("p", {}, words.note), close);
    close.addEventListener("click", () => list.close());
    list.addEventListener("keydown", (event) => {
      event.stopPropagation(); // Escape closes the list and nothing else
      if (event.key === "?") list.close();
    });
    return list;
  }

  function listen(acts, isHere) {
    document.addEventListener("keydown", (event) => {
      const { key, target } = event;
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !(key in acts) || !isHere(key)) return;
      if (key !== "Escape" && (target.closest?.(FIELDS) || (key === " " && target.closest?.(PRESSED)))) return;
      if (key.startsWith("Arrow") && target.closest?.(SCROLLED)) return;
      event.preventDefault();
      acts[key](event);
    });
  }

  window.EESD.keys = { commands, legend, listen };
})();
