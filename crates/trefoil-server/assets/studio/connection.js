// Whether the server is there. Whoever finds it gone waits here, and goes on when it is back.

import { byId, sleep } from './dom.js';

const FIRST = 400;
const LONGEST = 4000;
let returning = null;

function banner(text, kind) {
  const place = byId('banner');
  place.hidden = !text;
  place.className = `banner ${kind}`;
  place.textContent = text;
}

/** Waits until the server answers again; `signal` ends the waiting of one caller. */
export function back(signal) {
  returning ??= wait().finally(() => { returning = null; });
  if (!signal) return returning;
  return Promise.race([
    returning,
    new Promise((_, reject) => {
      const stop = () => reject(signal.reason);
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    }),
  ]);
}

async function wait() {
  for (let pause = FIRST; ; pause = Math.min(LONGEST, pause * 1.5)) {
    let answer = null;
    try {
      answer = await fetch('readyz', { cache: 'no-store', signal: AbortSignal.timeout(LONGEST) });
    } catch {
      // Nobody answers.
    }
    if (answer?.ok) break;
    banner(
      answer ? 'The server is starting…' : 'The server is away. What you asked for goes on when it is back.',
      'is-away',
    );
    await sleep(pause);
  }
  if (byId('banner').hidden) return;
  banner('The server is back.', 'is-back');
  document.dispatchEvent(new Event('server-back'));
  setTimeout(() => { if (!returning) banner('', ''); }, 2500);
}
