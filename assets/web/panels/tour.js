// The guided tour: a card at the bottom of the window that leads from part to part, with a task or a question at every stop. The rest of the
// page keeps working, and a task is completed by doing it there.
import { button, el, setText } from "../lib/elements.js";
import { wantsLessMotion } from "../lib/frames.js";
import { say } from "../lib/words.js";

const words = say.tour;

const isRejected = ({ state }) => state === "rejected";

// For each step: its name, the element it points at, and whether its task is done, given the state when the step began.
const ALL = [
  ["race", ".e-race", (view) => view.player.playing],
  ["states", ".e-lane-eesd", (view) => view.panels.tip.token?.state === "rejected"],
  ["draft", ".e-microscope", (view) => view.chosen !== null],
  ["stop", ".e-why", (view, before) => Math.abs(view.player.timeline.cursor - before.cursor) >= 2 && !view.player.playing],
  ["verify", ".e-clock", null],
  ["accept", ".e-microscope", null],
  ["lossless", ".e-lossless", null],
  [
    "learn",
    ".e-belief",
    (
      {
        run: {
          lanes: { eesd },
        },
      },
      before,
    ) => eesd.verified !== before.rounds && eesd.tokens.some(isRejected),
  ],
  ["length", ".e-lengths", null],
  ["law", ".e-law", (view) => view.panels.law.best === 0],
  ["prices", ".w-panel", null],
  ["drafters", ".e-microscope", null],
  ["takeAway", ".t-panel", null],
  ["yours", null, null],
];

// One path per audience: two minutes for a visitor, ten for a student or an engineer. The first is offered: it is for those who know nothing yet.
const PATHS = {
  visitor: ["race", "states", "lossless", "yours"],
  student: ["race", "states", "draft", "stop", "verify", "accept", "lossless", "learn", "length", "law", "yours"],
  engineer: ["race", "verify", "stop", "law", "prices", "drafters", "lossless", "takeAway", "yours"],
};

export class Tour {
  constructor(view) {
    this.name = "tour";
    this.view = view;
    this.title = el("h2", { tabindex: "-1" });
    this.count = el("span", { class: "e-hint" });
    this.text = el("p");
    this.task = el("div", { class: "e-tour-task", "aria-live": "polite" });
    this.back = button(words.back, () => this.go(this.at - 1));
    this.next = button(words.next, () => (this.at === this.last ? this.end() : this.go(this.at + 1)), "e-tour-next");
    const paths = Object.keys(PATHS).map((path) => el("option", { value: path }, words.paths[path]));
    this.path = el("select", { class: "e-select", "aria-label": words.path, title: words.path }, ...paths);
    this.path.addEventListener("change", () => this.go(0));
    const head = el("div", { class: "e-dialog-head" }, this.title, this.count, this.path);
    this.node = el(
      "section",
      { class: "e-tour", role: "dialog", "aria-label": words.title, popover: "manual" },
      head,
      this.text,
      this.task,
      el(
        "div",
        { class: "e-tour-buttons" },
        this.back,
        this.next,
        button(words.end, () => this.end()),
      ),
    );
    this.at = -1;
  }

  get stops() {
    return PATHS[this.path.value].map((name) => ALL.find(([own]) => own === name));
  }

  get last() {
    return this.stops.length - 1;
  }

  get open() {
    return this.at >= 0;
  }

  toggle() {
    if (this.open) return this.end();
    this.opener = document.activeElement;
    this.go(0);
  }

  go(at) {
    const { last, stops } = this;
    this.at = Math.min(Math.max(0, at), last);
    const [name, target] = stops[this.at];
    const step = words.steps[name];
    const { player, run } = this.view;
    Object.assign(this, { step, done: false, before: { cursor: player.timeline.cursor, rounds: run.lanes.eesd.verified } });
    setText(this.title, step.title);
    setText(this.count, words.place(this.at + 1, stops.length));
    setText(this.text, step.text);
    setText(this.next, this.at === last ? words.end : words.next);
    this.next.classList.remove("e-ready");
    this.next.nextSibling.hidden = this.at === last;
    this.back.disabled = this.at === 0;
    this.task.replaceChildren(...(step.question ? this.question(step) : step.task ? this.doing(step) : []));
    if (!this.node.matches(":popover-open")) this.node.showPopover(); // in the top layer nothing covers or clips it
    this.view.root.classList.add("e-touring");
    this.lookAt(target);
    this.title.focus({ preventScroll: true });
  }

  lookAt(selector) {
    this.looked?.classList.remove("e-looked-at");
    this.looked = selector && this.view.root.querySelector(selector);
    this.looked?.classList.add("e-looked-at");
    const room = window.innerHeight - 2 * this.node.offsetHeight; // the free space above the card
    const place = (this.looked?.offsetHeight ?? 0) > room ? "start" : "center";
    this.looked?.scrollIntoView({ block: place, behavior: wantsLessMotion() ? "auto" : "smooth" });
  }

  doing({ task }) {
    this.tick = el("span", { class: "e-tour-done" });
    return [el("p", {}, el("b", {}, `${words.task}: `), task, " ", this.tick)];
  }

  question({ question, options, because }) {
    const answer = el("p", { class: "e-tour-answer" });
    // The first option is the right one; its position among the others depends on the question, not on chance.
    const turn = question.length % options.length;
    const order = [...options.slice(turn), ...options.slice(0, turn)];
    const buttons = order.map((option) => {
      const answerWith = () => {
        const right = option === options[0];
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === node));
        setText(answer, `${right ? `✓ ${words.right}` : `✗ ${words.wrong}`} ${because}`);
        if (right) this.finish();
      };
      const node = button(option, answerWith, "e-option", { "aria-pressed": "false" });
      return node;
    });
    return [el("p", {}, el("b", {}, `${words.question} `), question), el("div", { class: "e-options" }, ...buttons), answer];
  }

  // Called whenever the view has been drawn.
  draw() {
    if (!this.open || this.done || !this.step.task) return;
    if (this.stops[this.at][2](this.view, this.before)) {
      setText(this.tick, `✓ ${words.done}`);
      this.finish();
    }
  }

  finish() {
    this.done = true;
    this.next.classList.add("e-ready");
  }

  end() {
    this.at = -1;
    this.lookAt(null);
    if (this.node.contains(document.activeElement)) this.opener?.focus({ preventScroll: true }); // keep a focus that was moved elsewhere
    if (this.node.matches(":popover-open")) this.node.hidePopover();
    this.view.root.classList.remove("e-touring");
  }
}
