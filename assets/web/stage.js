// The view with its usual panels, in the order of the page.
import { View } from "./lib/view.js";
import { belief } from "./panels/belief.js";
import { Clock } from "./panels/clock.js";
import { Conversation } from "./panels/conversation.js";
import { Contexts } from "./panels/contexts.js";
import { Drafter } from "./panels/drafter.js";
import { Glossary } from "./panels/glossary.js";
import { Intro } from "./panels/intro.js";
import { Keys } from "./panels/keys.js";
import { Law } from "./panels/law.js";
import { lengths } from "./panels/lengths.js";
import { Lossless } from "./panels/lossless.js";
import { Microscope } from "./panels/microscope.js";
import { Notices } from "./panels/notices.js";
import { positions } from "./panels/positions.js";
import { Questions } from "./panels/questions.js";
import { Race } from "./panels/race.js";
import { Toolbar } from "./panels/toolbar.js";
import { Tooltip } from "./panels/tooltip.js";
import { Tour } from "./panels/tour.js";
import { Why } from "./panels/why.js";

function build(element, options) {
  const view = new View(element, options);
  view.add(new Notices(view), "top");
  view.add(new Conversation(view), "top");
  view.add(new Intro(view), "top");
  view.add(new Questions(view), "top");
  view.add(new Tooltip(), "over");
  view.add(new Race(view), "main");
  view.add(new Clock(view), "main");
  view.add(new Why(view), "side");
  view.add(lengths(view), "side");
  view.add(new Microscope(view), "next");
  view.add(new Drafter(view), "next");
  view.add(belief(view), "more");
  view.add(new Contexts(view), "more");
  view.add(positions(view), "more");
  view.add(new Law(view), "more");
  view.add(new Lossless(view), "more");
  view.add(new Tour(view), "over");
  view.add(new Keys(view), "over");
  view.add(new Glossary(), "over");
  view.add(new Toolbar(view), "title");
  view.reset();
  return view;
}

const attached = new WeakMap();

// Builds a view in an element, and redraws it when the page's theme or width changes. Attaching twice returns the same view.
export function attach(element, options = {}) {
  if (attached.has(element)) return attached.get(element);
  const view = build(element, options);
  const redraw = () => view.pace.request();
  new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  new ResizeObserver(redraw).observe(element);
  document.addEventListener("load", redraw, true); // plotly.js may load after the run
  document.addEventListener("fullscreenchange", () => {
    if (!document.fullscreenElement && view.presenting) view.present(false); // Escape left full screen
  });
  attached.set(element, view);
  if (new URLSearchParams(window.location.search).get("present") === "1") view.present(true);
  return view;
}
