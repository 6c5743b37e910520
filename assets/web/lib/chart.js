// A chart in one persistent element: Plotly.react updates it and nothing is remounted. Two bands over it mark the chosen round and the one
// under the pointer, in the text or in any chart. A table holds its numbers.
import { button, el, icon, panelHead, setText, tableHead } from "./elements.js";
import { plotly } from "./plotly.js";
import { say } from "./words.js";

const words = say.charts;
const CONFIG = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false, showTips: false };

// Colours, sizes and fonts are read from CSS at drawing time, so a chart follows the page's theme and the presenter's type size.
function themeOf(root) {
  const style = getComputedStyle(root);
  const theme = (name) => style.getPropertyValue(`--e-${name}`).trim();
  return Object.assign(theme, { scale: Number(theme("type")) || 1 });
}

const axis = (theme, values) => ({
  fixedrange: true,
  zeroline: false,
  showline: false,
  ticks: "",
  gridcolor: theme("line"),
  automargin: false,
  tickfont: { color: theme("muted"), size: 11 * theme.scale },
  ...values,
  title: { text: values.title ?? "", font: { color: theme("muted"), size: 11 * theme.scale }, standoff: 6 },
});

const marginOf = (theme, { l, r, t, b }) => ({ l: l * theme.scale, r: r * theme.scale, t, b: b * theme.scale });

function layoutOf(theme, figure, width, height) {
  return {
    width,
    height,
    autosize: false,
    showlegend: false,
    dragmode: false,
    hovermode: "closest",
    uirevision: "keep",
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: theme("sans"), color: theme("ink"), size: 11 * theme.scale },
    hoverlabel: { bgcolor: theme("tip"), bordercolor: theme("line"), font: { color: theme("ink"), family: theme("sans"), size: 12 * theme.scale } },
    ...figure.layout,
    margin: marginOf(theme, figure.layout.margin),
    xaxis: axis(theme, figure.xaxis),
    yaxis: axis(theme, figure.yaxis),
  };
}

export class Chart {
  // `figure(state, theme, width, timeline)` returns {data, layout, xaxis, yaxis, label, table, spanOf, roundAt}. `choose` receives the number of
  // the round that was clicked, `point` that of the round under the pointer (or null).
  constructor(name, figure, { choose, point } = {}) {
    Object.assign(this, { name, figure, choose, point, visible: true });
    this.box = el("div", { class: `e-chart e-chart-${name}`, role: "img", "aria-label": "" });
    this.bands = { chosen: el("i", { class: "e-band e-band-chosen", hidden: "" }), pointed: el("i", { class: "e-band e-band-pointed", hidden: "" }) };
    this.frame = el("div", { class: "e-frame" }, this.bands.chosen, this.bands.pointed, this.box);
    this.frame.addEventListener("pointermove", (event) => this.point?.(this.roundUnder(event)));
    this.frame.addEventListener("pointerleave", () => this.point?.(null));
    this.makeTable();
    this.frame.append(this.button);
    new IntersectionObserver(
      ([{ isIntersecting }]) => {
        this.visible = isIntersecting;
        if (isIntersecting) this.onVisible?.();
      },
      { rootMargin: "200px" },
    ).observe(this.box);
  }

  makeTable() {
    this.rows = el("table");
    this.region = el("div", { class: "e-table", role: "region", tabindex: "0", hidden: "" }, this.rows);
    this.button = button(icon("table"), () => this.toggleTable(), "e-numbers", { "aria-expanded": "false", title: words.table });
  }

  toggleTable() {
    this.region.hidden = !this.region.hidden;
    this.button.setAttribute("aria-expanded", String(!this.region.hidden));
    this.fillTable();
  }

  // A panel around the chart: title, key, numbers.
  panel(title, ...key) {
    this.box.setAttribute("aria-label", title); // until it is drawn
    this.region.setAttribute("aria-label", words.tableOf(title));
    this.button.setAttribute("aria-label", words.tableOf(title));
    const head = panelHead(title, el("span", { class: "e-key" }, ...key));
    return el("section", { class: `e-panel e-${this.name}` }, head, this.frame, this.region);
  }

  draw(state, timeline) {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return; // not on screen; the resize observer calls again once it is
    const theme = themeOf(this.box);
    const figure = this.figure(state, theme, width, timeline);
    const { l, r, t, b } = marginOf(theme, figure.layout.margin);
    this.shown = { ...figure, left: l, inner: width - l - r };
    for (const band of Object.values(this.bands)) Object.assign(band.style, { top: `${t}px`, height: `${height - t - b}px` });
    this.box.setAttribute("aria-label", figure.label);
    this.placeBands();
    this.fillTable();
    const { library, isComing } = plotly;
    if (!library) return setText(this.box, isComing ? "" : words.noPlotly);
    if (this.box.firstChild?.nodeType === Node.TEXT_NODE) this.box.replaceChildren();
    library.react(this.box, figure.data, layoutOf(theme, figure, width, height), CONFIG);
    if (this.choose && !this.listens) {
      this.listens = true;
      this.box.on("plotly_click", ({ event }) => this.choose(this.roundUnder(event)));
    }
  }

  // ---- bands ----

  mark(chosen, pointed) {
    Object.assign(this, { chosen, pointed });
    this.placeBands();
  }

  placeBands() {
    for (const [kind, band] of Object.entries(this.bands)) {
      const span = this[kind] && this.shown?.spanOf?.(this[kind]);
      band.hidden = !span;
      if (span) this.placeBand(band, span);
    }
  }

  placeBand(band, span) {
    const {
      left,
      inner,
      xaxis: {
        range: [low, high],
      },
    } = this.shown;
    const [from, to] = span.map((x) => left + inner * Math.min(1, Math.max(0, (x - low) / (high - low))));
    band.hidden = to <= from;
    Object.assign(band.style, { left: `${from}px`, width: `${Math.max(2, to - from)}px` });
  }

  // The number of the round under the pointer.
  roundUnder({ clientX, clientY }) {
    if (!this.shown?.roundAt) return null;
    const box = this.box.getBoundingClientRect();
    const {
      left,
      inner,
      xaxis: {
        range: [low, high],
      },
    } = this.shown;
    const share = (clientX - box.left - left) / inner;
    return share < 0 || share > 1 ? null : this.shown.roundAt(low + share * (high - low), (clientY - box.top) / box.height);
  }

  // ---- table ----

  fillTable() {
    if (this.region.hidden || !this.shown) return;
    const { columns, rows } = this.shown.table();
    const line = ([name, ...values]) => el("tr", {}, el("th", { scope: "row" }, String(name)), ...values.map((value) => el("td", {}, String(value))));
    this.rows.replaceChildren(tableHead(columns), el("tbody", {}, ...rows.map(line)));
  }
}

export const swatch = (kind, name, hint = name) => el("span", { title: hint }, el("i", { class: `e-swatch e-fill-${kind}` }), name);

// A panel with a chart and its key only.
export function chartPanel(name, figure, view, title, ...key) {
  const chart = new Chart(name, figure, view.link);
  return { name, node: chart.panel(title, ...key), charts: [chart] };
}
