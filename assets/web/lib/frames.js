// Work that waits for the next frame or until somebody looks, and whether anything may move.

// A frame if one comes; a timer otherwise, because a hidden tab gets no frames and must keep up with the run.
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

// Once, when the node comes into sight.
export function whenSeen(node, work) {
  const seen = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    seen.disconnect();
    work();
  });
  seen.observe(node);
}

export const wantsLessMotion = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
