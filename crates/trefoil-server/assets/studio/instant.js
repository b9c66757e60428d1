// A picture while one types, by the generator that needs one step. A letter stops what the one before asked for.

import { post } from './api.js';
import { byId, debounce, say } from './dom.js';
import { pictureOf, tile } from './gallery.js';

const PAUSE = 90;
/** Pictures while typing: more would come later than the next letter. */
const MOST = 4;

let asking = null;
let shown = null;

async function draw(request) {
  asking?.abort();
  const patience = asking = new AbortController();
  const begin = performance.now();
  try {
    const drawn = await post('v1/images/generations', request, { signal: patience.signal });
    const milliseconds = Math.round(performance.now() - begin);
    shown = { ...request, seed: drawn.seed };
    byId('live-time').textContent = `${milliseconds} ms, seed ${drawn.seed}`;
    byId('live-tiles').replaceChildren(...drawn.data.map(pictureOf).map(tile));
    byId('live-keep').disabled = false;
    say(byId('live-error'), '');
  } catch (error) {
    if (!patience.signal.aborted) say(byId('live-error'), error.message);
  }
}

const soon = debounce(draw, PAUSE);

/** Draws what the form says, when nobody types for a moment; nothing without a prompt. */
export function update(isOn, { prompt, n, seed }) {
  byId('live').hidden = !isOn;
  if (!isOn || !prompt.trim()) {
    soon.cancel();
    asking?.abort();
    return;
  }
  // One seed while typing, or the picture would change for reasons other than the words.
  soon({ prompt, n: Math.min(n, MOST), seed: seed ?? shown?.seed, one_step: true });
}

/** What is shown, as a request; null if nothing is. */
export const kept = () => shown;
