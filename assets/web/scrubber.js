// The controls of the playhead: play, steps, speed, and a slider over the lanes' clocks that lies on the axis of the clock chart.
(() => {
  "use strict";
  const { el, icon, setText, SPEEDS, words: { scrubber: words } } = window.EESD;
  function button(name, content, act) {
    const node = el("button", { type: "button", class: `e-button e-${name}`, title: words[name], "aria-label": words[name] }, content);
    node.addEventListener("click", act);
    return node;
  }

  const select = (name, label, options, chosen) => {
    const node = el("select", { class: `e-select e-${name}`, "aria-label": label, title: label }, ...options.map(([value, text]) => el("option", { value }, text)));
    node.value = chosen;
    return node;
  };

  class Scrubber {
    constructor(player, { showKeys, present }) {
      this.player = player;
      this.kind = select("kind", words.kind, Object.entries(words.kinds), "round");
      this.speed = select("speed", words.speed, SPEEDS.map((speed) => [speed, words.times(speed)]), "1");
      this.play = button("play", icon("play"), () => player.toggle());
      this.live = el("button", { type: "button", class: "e-button e-live", title: words.follow }, words.live);
      this.where = el("span", { class: "e-where" });
      this.slider = el("input", { type: "range", class: "e-slider", min: "0", step: "any", "aria-label": words.slider });
      this.head = el("span", { class: "e-head", "aria-hidden": "true" });
      this.bar = el("div", { class: "e-scrub", role: "group", "aria-label": words.title },
        button("restart", icon("restart"), () => player.restart()),
        button("back", icon("back"), () => player.step(this.kind.value, -1)), this.play,
        button("forward", icon("forward"), () => player.step(this.kind.value, 1)),
        this.kind, this.speed, this.where, this.live, button("keys", "?", showKeys), button("present", icon("full"), present));
      this.listen();
    }

    listen() {
      const { player } = this;
      this.speed.addEventListener("change", () => this.setSpeed(this.speed.value));
      this.live.addEventListener("click", () => player.follow());
      this.slider.addEventListener("input", () => {
        if (player.playing) player.pause();
        player.seek(Number(this.slider.value));
      });
    }

    setSpeed(speed) {
      this.speed.value = String(speed);
      this.player.speed = Number(speed);
    }

    // `axis`: the seconds that the clock chart shows.
    draw(state, axis) {
      const { player } = this;
      const moving = player.playing || player.live;
      const name = moving ? "pause" : "play";
      if (this.shown !== name) {
        this.shown = name;
        this.play.replaceChildren(icon(name));
        for (const attribute of ["title", "aria-label"]) this.play.setAttribute(attribute, words[name]);
      }
      this.slider.max = axis;
      this.slider.value = player.time;
      this.head.style.setProperty("--e-at", player.time / axis);
      this.head.hidden = player.time >= player.timeline.duration; // at the end it would only cross out the readings
      const { rounds } = player.timeline;
      const where = words.where(player.time, state.lanes.eesd.rounds.length, rounds);
      setText(this.where, where);
      this.slider.setAttribute("aria-valuetext", where);
      this.live.hidden = player.timeline.over || player.following;
    }
  }

  window.EESD.Scrubber = Scrubber;
})();
