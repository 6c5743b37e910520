// Delays work to the next frame or until an element is seen; and tells whether the visitor wants less motion.

// On the next frame, or by a timer if none comes: a hidden tab gets no frames but must keep up with the run.
export function soon(work) {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    work();
  };
  if (!document.hidden) requestAnimationFrame(once);
  setTimeout(once, document.hidden ? 50 : 250);
}

// Does the work when the browser has nothing else to do, at the latest after two seconds. Safari has no idle callback.
export function whenIdle(work) {
  if (window.requestIdleCallback) window.requestIdleCallback(work, { timeout: 2000 });
  else setTimeout(work, 200);
}

// Does the work once, when the node comes into sight.
export function whenSeen(node, work) {
  const seen = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    seen.disconnect();
    work();
  });
  seen.observe(node);
}

export const wantsLessMotion = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
