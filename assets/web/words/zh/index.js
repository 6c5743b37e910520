// What the page says in Chinese. What is missing here stays English.
import { arrivals, benchmark, lawTest, models, runs, studies, takeaway, whatIf } from "./app.js";
import { charts, lossless, why } from "./charts.js";
import { drafters } from "./drafters.js";
import { glossary } from "./glossary.js";
import { methods } from "./methods.js";
import { drafter, microscope } from "./microscope.js";
import { refusals } from "./refusals.js";
import { precisions } from "./precisions.js";
import { questions } from "./questions.js";
import { room } from "./room.js";
import { sandbox } from "./sandbox.js";
import { together } from "./together.js";
import { tour } from "./tour.js";
import { conversation, intro, keys, levels, page, race, scrubber, states, tip, verdict } from "./view.js";

export const zh = {
  states,
  levels,
  page,
  race,
  conversation,
  verdict,
  tip,
  intro,
  scrubber,
  keys,
  why,
  charts,
  lossless,
  microscope,
  drafter,
  drafters,
  tour,
  glossary,
  refusals,
  arrivals,
  models,
  questions,
  room,
  takeaway,
  whatIf,
  sandbox,
  runs,
  methods,
  precisions,
  together,
  studies,
  lawTest,
  benchmark,
};
