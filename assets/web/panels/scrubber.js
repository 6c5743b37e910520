// The controls of the playhead: play, steps, speed, and a slider aligned with the axis of the clock chart.
import { button, el, icon, setText } from "../lib/elements.js";
import { SPEEDS } from "../lib/player.js";
import { say } from "../lib/words.js";

const words = say.scrubber;

const named = (name, content, act) => button(content, act, `e-${name}`, { title: words[name], "aria-label": words[name] });

function select(name, label, options, chosen) {
  const choices = options.map(([value, text]) => el("option", { value }, text));
  const node = el("select", { class: `e-select e-${name}`, "aria-label": label, title: label }, ...choices);
  node.value = chosen;
  return node;
}

export class Scrubber {
  constructor(view) {
    const { player } = view;
    Object.assign(this, { player, view });
    this.kind = select("kind", words.kind, Object.entries(words.kinds), "round");
    this.speed = select(
      "speed",
      words.speed,
      SPEEDS.map((speed) => [speed, words.times(speed)]),
      "1",
    );
    this.play = named("play", icon("play"), () => player.toggle());
    this.live = button(words.live, () => player.follow(), "e-live", { title: words.follow });
    this.takeAway = button(words.takeAway, () => view.visit(view.panels.takeAway), "e-take-away", { title: words.takeAwayHint });
    this.where = el("span", { class: "e-where" });
    this.slider = el("input", { type: "range", class: "e-slider", min: "0", step: "any", "aria-label": words.slider });
    this.head = el("span", { class: "e-head", "aria-hidden": "true" });
    this.bar = el(
      "div",
      { class: "e-scrub", role: "group", "aria-label": words.title },
      named("restart", icon("restart"), () => player.restart()),
      named("back", icon("back"), () => player.step(this.kind.value, -1)),
      this.play,
      named("forward", icon("forward"), () => player.step(this.kind.value, 1)),
      this.kind,
      this.speed,
      this.where,
      this.live,
      named("keys", "?", () => view.panels.keys.open()),
      named("present", icon("full"), () => view.present()),
      this.takeAway,
    );
    this.speed.addEventListener("change", () => this.setSpeed(this.speed.value));
    this.slider.addEventListener("input", () => {
      if (player.playing) player.pause();
      player.seek(Number(this.slider.value));
    });
  }

  setSpeed(speed) {
    this.speed.value = String(speed);
    this.player.speed = Number(speed);
  }

  // `axis`: the length of the clock chart's axis in seconds.
  draw(state, axis) {
    const { player } = this;
    const { timeline } = player;
    this.drawPlay(player.playing || player.live ? "pause" : "play");
    this.slider.max = axis;
    this.slider.value = player.time;
    this.head.style.setProperty("--e-at", player.time / axis);
    this.head.hidden = player.time >= timeline.duration; // at the end it would only cover the labels
    const where = words.where(player.time, state.lanes.eesd.rounds.length, timeline.rounds);
    setText(this.where, where);
    this.slider.setAttribute("aria-valuetext", where);
    this.live.hidden = timeline.over || player.following;
    this.takeAway.hidden = !this.view.panels.takeAway; // it comes late, and never on the phones of a room
  }

  drawPlay(name) {
    if (this.shown === name) return;
    this.shown = name;
    this.play.replaceChildren(icon(name));
    for (const attribute of ["title", "aria-label"]) this.play.setAttribute(attribute, words[name]);
  }
}
