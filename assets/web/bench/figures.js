// The report's charts: rows of the JSON become plotly data. `theme` looks up a colour by its CSS name.

const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8a7a00", "#8a93a0"]; // Okabe-Ito, yellow darkened
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const look = (i) => ({ line: { color: PALETTE[i % 8], dash: DASHES[i % 4], width: 2 }, marker: { color: PALETTE[i % 8], symbol: SYMBOLS[i % 6], size: 7 } });
const rowsOf = (group) => Object.entries(group.methods);
const upwards = (values) => [...values].reverse(); // plotly draws the first bar at the bottom
const mix = (from, to, part) =>
  "#" +
  [1, 3, 5]
    .map((i) =>
      Math.round(parseInt(from.slice(i, i + 2), 16) * (1 - part) + parseInt(to.slice(i, i + 2), 16) * part)
        .toString(16)
        .padStart(2, "0"),
    )
    .join("");
const perRow = (count, most = 26) => 70 + count * most;

function bars(rows, values, axis, extra = {}) {
  const names = upwards(rows.map(([name]) => name));
  return {
    data: [{ type: "bar", orientation: "h", y: names, x: upwards(values), hovertemplate: "%{y}: %{x:.2f}<extra></extra>", ...extra }],
    height: perRow(rows.length),
    xaxis: { title: axis, rangemode: "tozero" },
    yaxis: { type: "category" },
  };
}

export function speedups(group, theme) {
  const rows = rowsOf(group);
  const at = rows.map(([, row]) => row.speedup.overall);
  const error = {
    type: "data",
    symmetric: false,
    color: theme("ink"),
    thickness: 1.5,
    width: 4,
    array: upwards(rows.map(([, row]) => row.speedup.interval[1] - row.speedup.overall)),
    arrayminus: upwards(rows.map(([, row]) => row.speedup.overall - row.speedup.interval[0])),
  };
  const figure = bars(rows, at, "times vanilla", {
    error_x: error,
    marker: { color: upwards(rows.map(([, row]) => theme(row.peer ? "overhead" : "accent"))) },
  });
  figure.shapes = [{ type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { color: theme("muted"), dash: "dot" } }];
  return figure;
}

function heat(names, columns, z, axis, theme, format = ".2f") {
  const scale = [
    [0, theme("panel")],
    [1, mix(theme("panel"), theme("accent"), 0.5)],
  ]; // text is legible on every colour of it
  const cells = {
    type: "heatmap",
    x: columns,
    y: upwards(names),
    z: upwards(z),
    colorscale: scale,
    showscale: false,
    xgap: 2,
    ygap: 2,
    texttemplate: `%{z:${format}}`,
    textfont: { color: theme("ink") },
    hovertemplate: `%{y}, %{x}: %{z:${format}}<extra></extra>`,
    hoverongaps: false,
  };
  return { data: [cells], height: perRow(names.length), xaxis: { title: axis, type: "category", tickangle: "auto" }, yaxis: { type: "category" } };
}

export const categories = (group, theme) =>
  heat(
    Object.keys(group.methods),
    group.categories,
    rowsOf(group).map(([, row]) => group.categories.map((name) => row.categories[name].overall)),
    "",
    theme,
  );

export function positions(group, theme) {
  const rows = rowsOf(group).filter(([, row]) => row.acceptance_per_position.length > 0);
  if (rows.length > PALETTE.length) {
    const places = Array.from({ length: Math.max(...rows.map(([, row]) => row.acceptance_per_position.length)) }, (_, place) => place);
    return heat(
      rows.map(([name]) => name),
      places.map((place) => String(place + 1)),
      rows.map(([, row]) => places.map((place) => row.acceptance_per_position[place] ?? null)),
      "place in the draft",
      theme,
    );
  }
  const data = rows.map(([name, row], i) => ({
    type: "scatter",
    mode: "lines+markers",
    name,
    ...look(i),
    x: row.acceptance_per_position.map((_, place) => place + 1),
    y: row.acceptance_per_position,
    customdata: row.tested_per_position,
    hovertemplate: `${name.replaceAll("%", "")}, draft %{x}: %{y:.2f} of %{customdata} tested<extra></extra>`,
  }));
  return { data, height: 360, legend: true, xaxis: { title: "place in the draft", dtick: 1 }, yaxis: { title: "share accepted", range: [0, 1.03] } };
}

export const perRound = (group, theme) =>
  bars(
    rowsOf(group),
    rowsOf(group).map(([, row]) => row.mean_accepted_length),
    "tokens per round",
    { marker: { color: theme("accent") } },
  );

export function passes(group, theme) {
  const rows = rowsOf(group);
  const trace = (name, key, colour, shape) => ({
    type: "bar",
    orientation: "h",
    name,
    y: upwards(rows.map(([method]) => method)),
    x: upwards(rows.map(([, row]) => row[key])),
    marker: { color: theme(colour), pattern: { shape } },
    hovertemplate: `%{y}, ${name}: %{x:.2f}<extra></extra>`,
  });
  const data = [trace("of the target", "target_passes_per_token", "verify", ""), trace("for drafting", "draft_passes_per_token", "draft", "/")];
  return { data, height: perRow(rows.length, 34), legend: true, xaxis: { title: "passes per token" }, yaxis: { type: "category" } };
}

export function timeSplit(group, theme) {
  const rows = rowsOf(group).filter(([, row]) => row.time);
  const data = [
    ["draft", "/"],
    ["verify", ""],
    ["overhead", "."],
  ].map(([stage, shape]) => ({
    type: "bar",
    orientation: "h",
    name: stage,
    y: upwards(rows.map(([name]) => name)),
    x: upwards(rows.map(([, row]) => 100 * row.time[stage])),
    marker: { color: theme(stage), pattern: { shape } },
    hovertemplate: `%{y}, ${stage}: %{x:.1f} %<extra></extra>`,
  }));
  return {
    data,
    barmode: "stack",
    height: perRow(rows.length),
    legend: true,
    xaxis: { title: "% of decoding time", range: [0, 100] },
    yaxis: { type: "category" },
  };
}

export function lengths(group, theme) {
  const rows = rowsOf(group).filter(([, row]) => row.drafted > 0);
  const most = Math.max(...rows.map(([, row]) => row.draft_lengths.length));
  const shares = rows.map(([, row]) => Array.from({ length: most }, (_, k) => row.draft_lengths_percent[k] || null));
  return heat(
    rows.map(([name]) => name),
    Array.from({ length: most }, (_, k) => String(k)),
    shares,
    "drafts in a round (% of rounds)",
    theme,
    ".0f",
  );
}

export function regrets(group) {
  const rows = rowsOf(group).filter(([, row]) => row.regret && !row.controller.startsWith("fixed"));
  const data = rows.map(([name, row], i) => ({
    type: "scatter",
    mode: "lines",
    name,
    ...look(i),
    x: row.regret.summed_ms.map((_, n) => n + 1),
    y: row.regret.summed_ms,
    hovertemplate: "%{y:.0f} ms after %{x} prompts<extra></extra>",
  }));
  return {
    data,
    height: 360,
    legend: true,
    xaxis: { title: "prompts", dtick: Math.ceil(group.prompts.length / 12) },
    yaxis: { title: `ms lost against ${rows[0][1].regret.against}` },
  };
}

// One line per method over the groups of a suite, such as temperatures.
export function along(groups, value, title, axis) {
  const names = [...new Set(groups.flatMap((group) => Object.keys(group.methods)))];
  const data = names.map((name, i) => {
    const on = groups.filter((group) => name in group.methods && value(group.methods[name]) !== null);
    return {
      type: "scatter",
      mode: "lines+markers",
      name,
      ...look(i),
      x: on.map(({ x }) => x),
      y: on.map((group) => value(group.methods[name])),
      hovertemplate: "%{x}: %{y:.2f}<extra></extra>",
    };
  });
  return { data, height: 380, legend: true, xaxis: { title: axis }, yaxis: { title, rangemode: "tozero" } };
}

// The grid of the paper's rule. Rows: prior and discount (the share of its counts that a round keeps). Columns: draft limit.
export function grid(group, value, theme) {
  const points = rowsOf(group)
    .map(([name, row]) => [name.match(/^beta:alpha=(.+):beta=(.+):forget=(.+):limit=(\d+)$/), row])
    .filter(([found]) => found);
  const at = new Map(points.map(([[, a, b, forget, limit], row]) => [`Beta(${a}, ${b}), ${forget} ${limit}`, value(row)]));
  const names = [...new Set(points.map(([[, a, b, forget]]) => `Beta(${a}, ${b}), ${forget}`))];
  const limits = [...new Set(points.map(([found]) => found[4]))];
  return heat(
    names,
    limits,
    names.map((name) => limits.map((limit) => at.get(`${name} ${limit}`))),
    "most drafts in a round",
    theme,
  );
}
