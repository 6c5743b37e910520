// A chart that lives in one persistent element: Plotly.react updates it, nothing is ever remounted.
(() => {
  "use strict";
  const { el } = window.EESD;
  const CONFIG = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false, showTips: false };
  const NO_PLOTLY = "No chart: plotly.js is not loaded on this page.";

  // Colours and fonts come from CSS when the chart is drawn, so a chart follows the page's theme.
  function themeOf(root) {
    const style = getComputedStyle(root);
    return (name) => style.getPropertyValue(`--e-${name}`).trim();
  }

  const axis = (theme, values) => ({
    fixedrange: true, zeroline: false, showline: false, ticks: "", gridcolor: theme("line"), automargin: false,
    tickfont: { color: theme("muted"), size: 11 }, ...values,
    title: { text: values.title ?? "", font: { color: theme("muted"), size: 11 }, standoff: 6 },
  });

  function layoutOf(theme, figure, width, height) {
    return {
      width, height, autosize: false, showlegend: false, dragmode: false, hovermode: "closest", uirevision: "keep",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: theme("sans"), color: theme("ink"), size: 11 },
      hoverlabel: { bgcolor: theme("tip"), bordercolor: theme("line"), font: { color: theme("ink"), family: theme("sans"), size: 12 } },
      ...figure.layout, xaxis: axis(theme, figure.xaxis), yaxis: axis(theme, figure.yaxis),
    };
  }

  class Chart {
    // `figure(state, theme, width, timeline, selected)` returns {data, layout, xaxis, yaxis, label}; `plotly()` finds the library, which
    // may load late. `choose` is told the x of a point that was clicked.
    constructor(name, figure, plotly, choose) {
      Object.assign(this, { figure, plotly, choose });
      this.box = el("div", { class: `e-chart e-chart-${name}`, role: "img", "aria-label": "" });
    }

    draw(state, timeline, selected) {
      const { clientWidth: width, clientHeight: height } = this.box;
      if (!width || !height) return; // not on screen; the resize observer calls again when it is
      const theme = themeOf(this.box);
      const figure = this.figure(state, theme, width, timeline, selected);
      this.box.setAttribute("aria-label", figure.label);
      const plotly = this.plotly();
      if (!plotly) return window.EESD.setText(this.box, window.EESD.plotlyIsComing ? "" : NO_PLOTLY);
      if (this.box.textContent === NO_PLOTLY) this.box.replaceChildren();
      plotly.react(this.box, figure.data, layoutOf(theme, figure, width, height), CONFIG);
      if (this.choose && !this.listens) {
        this.listens = true;
        this.box.on("plotly_click", ({ points }) => this.choose(points[0].x));
      }
    }
  }

  // Draws charts one after the other, each a few times a second, and never spends more than a quarter of the time on them. One at a
  // time, because three in a row would hold up the text.
  class Pace {
    constructor(works) {
      Object.assign(this, { works, waiting: [], next: 0, timer: null });
    }

    request() {
      for (const work of this.works) if (!this.waiting.includes(work)) this.waiting.push(work);
      this.schedule();
    }

    schedule() {
      if (this.timer !== null || !this.waiting.length) return;
      this.timer = setTimeout(() => this.run(), Math.max(0, this.next - performance.now()));
    }

    run() {
      this.timer = null;
      const start = performance.now();
      this.waiting.shift()();
      const end = performance.now();
      this.next = end + Math.max(40, 3 * (end - start));
      this.schedule();
    }
  }

  Object.assign(window.EESD, { Chart, Pace });
})();
