// The clock: both lanes on one axis of seconds, split into drafting, verifying and overhead, with the playback controls above.
import { NO_MORE, pattern } from "../lib/axes.js";
import { Chart, swatch } from "../lib/chart.js";
import { number, sum } from "../lib/numbers.js";
import { say } from "../lib/words.js";
import { Scrubber } from "./scrubber.js";

const words = say.charts.clock;
const MOST_SEGMENTS = 90; // per lane; beyond that, rounds are summed in groups
const ROWS = ["vanilla", "eesd"]; // from bottom to top
const KINDS = [
  ["draft", () => 0],
  ["verify", (part) => part.draft],
  ["overhead", (part) => part.draft + part.verify],
];

// The times of consecutive rounds, summed in groups so that long runs are drawn quickly.
function segments(lane) {
  const rounds = lane.rounds.filter((round) => round.end > round.start && !round.told); // the time of another program's round is not split
  const size = Math.ceil(rounds.length / MOST_SEGMENTS) || 1;
  const groups = [];
  for (let i = 0; i < rounds.length; i += size) groups.push(segment(rounds.slice(i, i + size)));
  return groups;
}

// A round that is not verified yet has spent all its time on drafting.
const draftingOf = ({ outcome, start, end }) => (outcome ? outcome.draft_seconds : end - start);

function segment(rounds) {
  const [first, last] = [rounds[0], rounds.at(-1)];
  const draft = sum(rounds, draftingOf);
  const verify = sum(rounds, ({ outcome }) => outcome?.verify_seconds ?? 0);
  const overhead = Math.max(0, last.end - first.start - draft - verify);
  return { name: words.rounds(first.number, last.number), start: first.start, draft, verify, overhead };
}

function bars(kind, offset, parts, marker) {
  const own = parts.filter(({ part: { [kind]: length } }) => length > 0);
  return {
    type: "bar",
    orientation: "h",
    name: kind,
    marker,
    y: own.map(({ row }) => row),
    x: own.map(({ part }) => part[kind]),
    base: own.map(({ part }) => part.start + offset(part)),
    customdata: own.map(({ part }) => part.name),
    hovertemplate: `%{customdata}: ${words.kinds[kind]} %{x:.4f} s${NO_MORE}`,
  };
}

// The axis grows in steps, so it stands still most of the time.
function roomFor(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value * 0.999);
}

// The seconds that the clock's axis shows. For a finished run exactly its duration, so that the slider matches the axis.
const axisOf = ({ duration, over }) => (over && duration > 0 ? duration : roomFor(duration));

function figure(state, theme, width, timeline) {
  const name = (lane) => say.race.lanes[lane];
  const parts = ROWS.flatMap((lane) => segments(state.lanes[lane]).map((part) => ({ row: name(lane), part })));
  const edge = { color: theme("panel"), width: 0.5 };
  const markers = {
    draft: { ...pattern(theme("draft"), "/", theme("draft-fill")), line: edge },
    verify: { color: theme("verify"), line: edge },
    overhead: { ...pattern(theme("overhead"), ".", theme("panel")), line: { color: theme("overhead"), width: 0.5 } },
  };
  const started = ROWS.filter((lane) => state.lanes[lane].started);
  const tickfont = { color: theme("ink"), size: 12 * theme.scale };
  return {
    data: KINDS.map(([kind, offset]) => bars(kind, offset, parts, markers[kind])),
    layout: {
      barmode: "overlay",
      bargap: 0.35,
      margin: { l: 60, r: 70, t: 2, b: 34 },
      annotations: started.map((lane) => reading(state.lanes[lane], name(lane), theme)),
    },
    xaxis: { title: words.axis, range: [0, axisOf(timeline)], nticks: width < 600 ? 5 : 12 },
    yaxis: {
      type: "category",
      categoryarray: ROWS.map(name),
      range: [-0.5, 1.5],
      tickfont,
      ticks: "outside",
      ticklen: 6,
      tickcolor: "rgba(0,0,0,0)",
      showgrid: false,
    },
    label: words.label(started.map((lane) => words.reading(name(lane), state.lanes[lane].clock))),
    table: () => ({ columns: words.columns, rows: parts.map(rowOf) }),
    ...linkOf(state.lanes),
  };
}

const reading = (lane, row, theme) => ({
  x: lane.clock,
  y: row,
  xanchor: "left",
  xshift: 4,
  showarrow: false,
  text: `${number(lane.clock)} s${lane.end === "finished" ? " ✓" : ""}`,
  font: { color: theme("ink"), size: 12 * theme.scale },
});

const rowOf = ({ row, part }) => [row, part.name, ...[part.start, part.draft, part.verify, part.overhead].map((time) => number(1000 * time, 1))];

// In the upper row, the EESD round at this time. In the lower row, the EESD round that wrote what vanilla was writing then.
function linkOf({ eesd, vanilla }) {
  const at = (lane, time) => lane.rounds.findLast((round) => round.start <= time && time < round.end);
  const writerAt = (time) => {
    const step = at(vanilla, time);
    return step && eesd.rounds.findLast((round) => round.position <= step.position);
  };
  return {
    spanOf: (round) => (eesd.rounds[round - 1] ? [eesd.rounds[round - 1].start, eesd.rounds[round - 1].end] : null),
    roundAt: (time, height) => (height < 0.35 ? at(eesd, time) : writerAt(time))?.number ?? null,
  };
}

export class Clock {
  constructor(view) {
    this.name = "clock";
    this.view = view;
    this.chart = new Chart("clock", figure, view.link);
    this.charts = [this.chart];
    this.scrubber = new Scrubber(view);
    this.node = this.chart.panel(words.title, ...Object.entries(words.kinds).map(([kind, name]) => swatch(kind, name)));
    this.node.querySelector("h2").after(this.scrubber.bar);
    this.chart.frame.before(this.scrubber.slider);
    this.chart.frame.append(this.scrubber.head);
  }

  draw(state) {
    this.scrubber.draw(state, axisOf(this.view.player.timeline));
  }
}
