// The playhead: it follows a run as it comes in, or plays, pauses and steps through one that is there. No DOM.
import { Timeline } from "./timeline.js";

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
export const OPENING_SPEED = 0.25; // of the race that the page opens on: it takes a second or two, and nobody would see what happens
const DRAG = 150; // milliseconds: seeks closer together than this are one drag
const LONGEST_FRAME = 0.1; // seconds; after a longer gap (a hidden tab) playing resumes where it was

export class Player {
  constructor(onChange) {
    Object.assign(this, { onChange, speed: 1, sought: -Infinity });
    this.load(new Timeline());
  }

  // New records are followed until somebody moves the playhead.
  load(timeline) {
    Object.assign(this, { timeline, playing: false, following: true, time: 0 });
    this.onChange();
  }

  add(record) {
    this.timeline.add(record, this.following);
    if (this.following) this.time = this.timeline.duration;
  }

  // Whether somebody is dragging the playhead.
  get dragged() {
    return performance.now() - this.sought < DRAG;
  }

  get live() {
    return this.following && !this.timeline.over;
  }

  play() {
    if (this.playing) return;
    if (this.timeline.atEnd && this.timeline.over) this.seek(0);
    Object.assign(this, { playing: true, following: false, last: performance.now() });
    this.onChange();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    Object.assign(this, { playing: false, following: false });
    this.onChange();
  }

  toggle() {
    if (this.playing || this.live) this.pause();
    else this.play();
  }

  tick(now) {
    if (!this.playing) return;
    this.time += Math.min(LONGEST_FRAME, Math.max(0, (now - this.last) / 1000)) * this.speed;
    this.last = now;
    const { timeline } = this;
    timeline.moveTo(timeline.placeAt(this.time));
    if (this.time >= timeline.duration) this.arrive();
    else requestAnimationFrame((next) => this.tick(next));
    this.onChange();
  }

  // At the end, a run that is still coming in is followed.
  arrive() {
    Object.assign(this, { playing: false, following: true, time: this.timeline.duration });
  }

  follow() {
    this.timeline.moveTo(this.timeline.records.length);
    this.arrive();
    this.onChange();
  }

  seek(time) {
    this.sought = performance.now();
    this.time = Math.min(Math.max(0, time), this.timeline.duration);
    this.moveTo(this.timeline.placeAt(this.time));
  }

  restart() {
    this.pause();
    this.seek(0);
    this.play();
  }

  step(kind, direction) {
    this.pause();
    this.moveTo(direction > 0 ? this.timeline.after(kind) : this.timeline.before(kind));
    this.time = this.timeline.time;
  }

  moveTo(cursor) {
    this.following = false;
    this.timeline.moveTo(cursor);
    this.onChange();
  }
}
