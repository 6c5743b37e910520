// Schedules the drawing of the page's parts: one at a time, and never so often that the text stands still.

const REST = 300; // milliseconds

// Draws the parts in turn, each a few times a second. It spends at most a quarter of the time on them, or a ninth while somebody drags the
// playhead. It draws one at a time, because several in a row would hold up the text. If `isFrameComing()`, that frame calls turn().
export class Pace {
  constructor(works, isFrameComing, isDragged) {
    Object.assign(this, { works, isFrameComing, isDragged, waiting: [], next: 0, timer: null });
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
    if (!this.isFrameComing()) this.turn();
  }

  // Draws the next part, if it is time. Returns whether something was drawn.
  turn() {
    const start = performance.now();
    let drawn = false;
    while (!drawn && this.waiting.length && start >= this.next) drawn = this.waiting.shift()() !== false; // false: there was nothing to do
    const end = performance.now();
    if (drawn) this.next = end + Math.max(40, (this.isDragged() ? 8 : 3) * (end - start));
    this.schedule();
    return drawn;
  }
}

// For a panel of many elements. In sight it is drawn in its turn; out of sight only after a pause, for screen readers. Drawn all the time, two
// such panels would discard more elements than the text does.
export function patient(node, draw) {
  let [seen, rest] = [true, null];
  const watch = (entries) => {
    seen = entries.at(-1).isIntersecting;
    if (seen) draw();
  };
  new IntersectionObserver(watch, { rootMargin: "200px" }).observe(node);
  return () => {
    clearTimeout(rest);
    if (seen) return draw();
    rest = setTimeout(draw, REST);
    return false;
  };
}
