// plotly.js draws the charts. It may come late, or not at all: whoever loads it says here that it is on its way.

export const plotly = {
  isComing: false,
  get library() {
    return window.Plotly;
  },
};
