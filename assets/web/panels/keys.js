// Keys for the playhead, and the list of them. They are off while somebody types, and leave keys alone that a control needs.
import { button, dialog, el } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.keys;
const FIELDS = "input:not(.e-slider):not([type=checkbox]), textarea, select:not(.e-select), [contenteditable]:not([contenteditable=false])";
const PRESSED = "button, a, summary, label, input[type=checkbox], [role=button], [role=option]"; // these use the space key
const SCROLLED = ".e-table, .w-scroll"; // these use the arrow keys

export class Keys {
  constructor(view) {
    this.name = "keys";
    this.view = view;
    const rows = words.list.flatMap(([key, meaning]) => [el("dt", {}, key), el("dd", {}, meaning)]);
    const close = button(words.close, () => this.node.close());
    const parts = [el("h2", {}, words.title), el("dl", {}, ...rows), el("p", {}, words.note), close];
    this.node = dialog("e-dialog e-key-list", { "aria-label": words.title }, ...parts);
    this.node.addEventListener("keydown", ({ key }) => key === "?" && this.node.close());
    document.addEventListener("keydown", (event) => this.press(event));
  }

  open() {
    this.node.showModal();
  }

  commands() {
    const { view } = this;
    const { player, panels } = view;
    return {
      " ": () => player.toggle(),
      ArrowRight: ({ shiftKey }) => player.step(shiftKey ? "token" : "round", 1),
      ArrowLeft: ({ shiftKey }) => player.step(shiftKey ? "token" : "round", -1),
      ".": () => player.step("event", 1),
      ",": () => player.step("event", -1),
      x: ({ shiftKey }) => player.step("rejection", shiftKey ? -1 : 1),
      r: () => player.restart(),
      f: () => view.present(),
      t: () => panels.tour.toggle(),
      g: () => panels.glossary.open(),
      "?": () => this.open(),
      Escape: () => (panels.tour.open ? panels.tour.end() : view.present(false)),
    };
  }

  // Whether this key does anything now.
  isHere(key) {
    const { presenting, panels, run } = this.view;
    return key === "Escape" ? presenting || panels.tour.open : run.started;
  }

  press(event) {
    const { target } = event;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = this.commands()[key];
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !act || !this.isHere(key)) return;
    if (key !== "Escape" && (target.closest?.(FIELDS) || (key === " " && target.closest?.(PRESSED)))) return;
    if (key.startsWith("Arrow") && target.closest?.(SCROLLED)) return;
    event.preventDefault();
    act(event);
  }
}
