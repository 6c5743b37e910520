// The page around the view: the recorded race, links, plotly.js, the theme, and what the form's buttons mean to the browser.
import { page as given } from "./given.js";
import { button, el, setText } from "./lib/elements.js";
import { soon, wantsLessMotion, whenIdle } from "./lib/frames.js";
import { read, VIEW, viewOf, write } from "./lib/link.js";
import { unpack } from "./lib/packed.js";
import { OPENING_SPEED } from "./lib/player.js";
import { plotly } from "./lib/plotly.js";
import { translate } from "./lib/translate.js";
import { language, say } from "./lib/words.js";
import { Arrivals } from "./panels/arrivals.js";
import { Benchmark } from "./panels/benchmark.js";
import { LawTest } from "./panels/law_test.js";
import { aboutMethod, Methods } from "./panels/methods.js";
import { Precisions } from "./panels/precisions.js";
import { Reply } from "./panels/reply.js";
import { Room } from "./panels/room.js";
import { Runs } from "./panels/runs.js";
import { Sandbox } from "./panels/sandbox.js";
import { TakeAway } from "./panels/take_away.js";
import { Title } from "./panels/title.js";
import { Together } from "./panels/together.js";
import { WhatIf } from "./panels/what_if.js";
import { attach } from "./stage.js";

const formButton = (id) => document.getElementById(id);
const address = (path) => new URL(path, document.baseURI).href;
const onServer = (name) => address(`gradio_api/eesd/${name}`);
const update = (changes) => ({ __type__: "update", ...changes });
const AS_IT_IS = update({});
const EMPTY = update({ value: undefined });

const opening = unpack(given.opening); // while Gradio mounts the page

plotly.isComing = true;

export const page = {
  form: given.form,

  attach(element) {
    if (this.view?.root === element) return this.view;
    document.documentElement.lang = language.codes[language.now]; // again: Gradio has put its own there
    element.addEventListener("eesd-source", ({ detail }) => this.onSource(detail));
    const toolbar = document.querySelector(".eesd-tools");
    this.view = attach(element, { toolbar, link: () => this.address, history: () => this.history });
    this.view.add(new Title(this.view, given));
    this.addRoom(this.view);
    this.view.add(new Reply(this.view, (request, turns) => this.reply(request, turns)), "race");
    this.translate();
    this.offer();
    new Arrivals({ at: onServer("models"), waiting: given.models ?? [], host: given.host, loaded: (host) => this.loaded(host) });
    this.show().finally(() => soon(() => soon(() => whenIdle(() => this.addRest(this.view)))));
    return this.view;
  },

  // Added after the first frames of the recorded race, which need none of it: the panels that an offline file does not have, those of the form
  // and, if the server has its own engine (`studies`), the studies; and plotly.js.
  addRest(view) {
    const form = () => this.named;
    const quantize = () => ({ quantize: form().quantize });
    if (given.studies) view.add(new LawTest(view, { path: onServer("law"), form }), "more");
    view.add(new WhatIf(view), "below");
    view.add(new Runs(view), "below");
    const recorded = onServer("methods.ndjson");
    if (given.studies) view.add(new Methods({ path: onServer("methods"), recorded, form, offered: given.contestants }), "below");
    if (given.studies && given.precisions.length > 1) {
      view.add(new Precisions({ path: onServer("precisions"), form, offered: given.precisions }), "below");
    }
    view.add(new Together(view, given.studies ? { path: onServer("together"), form, offered: given.texts } : null), "below");
    view.add(new Sandbox(view), "below");
    view.add(new Benchmark({ at: onServer, form: quantize, live: given.studies }), "below");
    this.takeAway = view.add(new TakeAway(view, this.behind), "below");
    this.takeAway.onOpen = () => formButton("stop").click(); // the run is no longer shown
    if (this.refused) this.takeAway.say(this.refused);
    this.offer();
    view.request();
    this.loadPlotly();
  },

  // Phones follow what this page shows, on a page of their own (follow.js).
  addRoom(view) {
    const qr = (link) => onServer(`qr.svg?link=${encodeURIComponent(link)}`);
    const room = view.add(new Room(view, { at: onServer, link: (code) => onServer(`room?code=${code}`), qr }), "top");
    view.panels.toolbar.node.prepend(button(say.room.start, () => room.open(), "", { title: say.room.startHint }));
  },

  // The server's model was still being loaded when this page was made.
  loaded(host) {
    given.facts.machine = host.machine;
    this.view.panels.title.learn(host);
  },

  translate() {
    const { form, caution } = say.page;
    if (!Object.keys(form).length) return;
    const note = document.querySelector(".eesd-caution");
    if (note) setText(note, caution(note.dataset.model, note.dataset.layer));
    translate(document.body, form);
  },

  // Shows the recorded race, or the view that the address asks for.
  async show() {
    const { view } = this;
    const [source, round, at, speed] = read(VIEW, window.location.search).values;
    if (source === "live") view.reset();
    else await this.showRecorded(at);
    if (speed) view.panels.clock.scrubber.setSpeed(speed);
    if (round) view.choose(round); // without a run: a round of the next one
    this.opened = true;
  },

  async showRecorded(at) {
    const { view } = this;
    const text = await opening;
    if (view.stream.consumed) return; // Run was pressed meanwhile
    view.open(text, at === undefined ? this.start : "paused");
    this.recorded = view.recording;
    view.panels.clock.scrubber.setSpeed(OPENING_SPEED);
    if (at !== undefined) view.player.seek(at);
  },

  // Another run than the one before is on the page: a recorded one, with `recording` its first line, or a live one. Only the opening
  // race is slowed down, so the next is played at the speed that it had, unless the visitor has chosen one.
  onSource(recording) {
    document.documentElement.dataset.source = recording ? "recorded" : "live";
    const { clock } = this.view?.panels ?? {};
    if (this.recorded && clock?.scrubber.player.speed === OPENING_SPEED) clock.scrubber.setSpeed(1);
  },

  // How the recorded race begins: playing, unless the address says ?paused=1 or the visitor wants less motion.
  get start() {
    if (new URLSearchParams(window.location.search).get("paused") === "1") return "paused";
    return wantsLessMotion() ? "over" : "playing";
  },

  // What only a server can provide: the empty offline file, the lecture page, and QR codes of links.
  get behind() {
    return {
      facts: given.facts,
      lecture: onServer("lecture.html"),
      template: async () => {
        const answer = await fetch(onServer("offline.txt"));
        if (!answer.ok) throw new Error(answer.statusText);
        return answer.text();
      },
      link: () => this.address,
      qr: (link) => onServer(`qr.svg?link=${encodeURIComponent(link)}`),
    };
  },

  // What the address sets; the other fields are left alone. For each change Gradio reads the state of all fields, so a value that is already
  // there is not set again. An empty number must be set, or Gradio shows 0; `undefined` is how Gradio stores it, so this is no change.
  fromLink(values) {
    const { values: asked, refused } = read([...this.form, ...VIEW], window.location.search);
    this.refused = refused.length ? say.takeaway.refused(refused.join(", ")) : "";
    if (this.refused) this.takeAway?.say(this.refused);
    this.remember(values.map((value, i) => asked[i] ?? value));
    const changes = this.values.map((value, i) => (value !== values[i] ? value : value === null ? EMPTY : AS_IT_IS));
    return [...changes, this.examples(this.named.model)];
  },

  // The examples of a model, by names in the page's language. A link may ask for a model that is not on this server.
  examples(model) {
    const own = given.examples[model];
    if (!own) return AS_IT_IS;
    return update({ choices: own.map(([name, prompt]) => [say.page.form[name] ?? name, prompt]), value: own[0][1] });
  },

  // The form's current values. Folded fields are not in the DOM, so the values cannot be read from there.
  remember(values) {
    this.values = values;
    this.offer();
    this.view?.request();
  },

  get named() {
    return Object.fromEntries(this.form.map(({ name }, i) => [name, this.values?.[i] ?? null]));
  },

  // Describes the chosen model, controller and drafter, and hides drafters whose trained head the chosen model lacks.
  offer() {
    const { drafter, controller, model } = this.named;
    const chosen = model ?? Object.keys(given.heads)[0];
    const lacking = Object.keys(given.needs).filter((name) => !given.heads[chosen]?.includes(given.needs[name]));
    const missing = lacking.length ? say.drafters.missing(lacking, chosen) : "";
    document.documentElement.dataset.lacking = lacking.join(" ");
    this.view?.panels.methods?.offer(lacking, missing);
    const note = document.querySelector(".eesd-drafter-note");
    const about = [controller, drafter].filter(aboutMethod).map((name) => `${name}: ${aboutMethod(name)}`);
    if (say.models[chosen]) about.unshift(`${chosen}: ${say.models[chosen]}`);
    if (note) setText(note, [...about, missing].filter(Boolean).join(" "));
  },

  // Earlier turns for the next run, if it has any.
  get history() {
    const { chat, history } = this.named;
    return chat ? history : "";
  },

  // The next turn of a conversation: fills the form and starts the run.
  reply(request, turns) {
    this.turn = [request, JSON.stringify(turns)];
    formButton("reply").click();
  },

  // Run can be pressed again a moment after a run is over.
  async press(id) {
    while (formButton(id).disabled) await new Promise((next) => setTimeout(next, 20));
    formButton(id).click();
  },

  // Whether form and view match the address: the form's values come from Gradio, and the recorded race has to be unpacked.
  get ready() {
    return Boolean(this.opened && this.values);
  },

  // The address of this page with the form's values and the view.
  get address() {
    if (!this.ready) return window.location.href;
    const values = [...this.form.map((_, i) => this.values?.[i]), ...viewOf(this.view, this.recorded)];
    return write([...this.form, ...VIEW], values, window.location.href);
  },

  // Fetching and parsing it takes longer than everything else together, and only charts wait for it.
  loadPlotly() {
    const script = el("script", { src: address(given.plotly) });
    script.onerror = () => (plotly.isComing = false);
    script.async = true;
    document.head.append(script);
  },

  // New values for Run and Stop.
  buttons: (running) => [update({ interactive: !running }), update({ interactive: running })],

  // Stops a run and clears the stage; returns the form's initial values.
  reset(values) {
    formButton("stop").click(); // does nothing without a run: the button is disabled
    this.view?.dismiss();
    this.remember(values.slice(0, this.form.length));
    return values;
  },
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented) return;
  const { key, target } = event;
  const { presenting, panels } = page.view ?? {}; // Escape closes these first
  const inList = target.getAttribute?.("aria-expanded") === "true"; // Escape closes an open list first, too
  if (key === "Enter" && (event.ctrlKey || event.metaKey) && target.closest?.("#prompt")) formButton("run")?.click();
  else if (key === "Escape" && !inList && !presenting && !panels?.tour.open) formButton("stop")?.click();
});

// The address keeps the theme, so that a reload or a copied link has it too.
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#theme")) return;
  const dark = document.body.classList.toggle("dark");
  const url = new URL(window.location);
  url.searchParams.set("__theme", dark ? "dark" : "light");
  window.history.replaceState(null, "", url);
});
