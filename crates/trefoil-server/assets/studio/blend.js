// From one picture to another. All places of the slider are drawn at once, so that it moves without waiting.

import { announce, byId, debounce, el } from './dom.js';
import { run } from './jobs.js';
import { pictureOf } from './gallery.js';
import { save, state } from './state.js';
import { view } from './viewer.js';

const PLACES = 8;
const WEIGHTS = Array.from({ length: PLACES + 1 }, (_, place) => place / PLACES);

let frames = [];
let drawing = null;

const slots = () => state.blend.slots;
const note = (text) => { byId('blend-note').textContent = text; };

function showSlot(place) {
  const button = byId(`slot-${place}`);
  const picture = slots()[place];
  const name = place === 0 ? 'First' : 'Second';
  button.replaceChildren(picture ? el('img', { src: picture.src, alt: '' }) : el('span', { text: name }));
  button.setAttribute('aria-label', `${name} picture: ${picture ? picture.title || 'a picture' : 'none'}`);
}

function showFrame() {
  const place = Number(byId('blend').value);
  const picture = frames[place];
  const share = `${Math.round(WEIGHTS[place] * 100)} % of the second picture`;
  byId('blend').setAttribute('aria-valuetext', share);
  if (!picture) {
    byId('blend-result').replaceChildren();
    return;
  }
  byId('blend-result').replaceChildren(el('button', {
    type: 'button', class: 'picture', 'aria-label': `Show the blend with ${share}`, onclick: () => view(picture),
  }, el('img', { src: picture.src, alt: `blend, ${share}` })));
}

async function draw() {
  drawing?.abort();
  frames = [];
  showFrame();
  const [first, second] = slots();
  byId('blend').disabled = true;
  if (!first || !second) {
    note('Open a picture that you drew and choose “Blend: first” or “Blend: second”.');
    return;
  }
  const patience = drawing = new AbortController();
  note('Drawing what is between them…');
  const onprogress = ({ progress, previews = [] }) => {
    note(`Drawing what is between them… ${Math.round(progress * 100)} %`);
    const preview = previews[Math.min(previews.length - 1, Number(byId('blend').value))];
    if (preview) {
      byId('blend-result').replaceChildren(el('img', { class: 'preview', alt: '', src: `data:image/png;base64,${preview}` }));
    }
  };
  const onwait = (seconds) => note(`The queue of the server is full. It is tried again in ${seconds} s.`);
  try {
    const request = { images: [first.base64, second.base64], weights: WEIGHTS, seed: state.blend.seed };
    const drawn = await run('blends', request, { onprogress, onwait, signal: patience.signal });
    frames = drawn.data.map(pictureOf);
    byId('blend').disabled = false;
    note('Move the slider.');
    announce('The blend is ready. Move the slider.');
    showFrame();
  } catch (error) {
    if (!patience.signal.aborted) note(error.message);
  }
}

// Two pictures that are chosen in one go are one blend.
const soon = debounce(draw, 50);

/** Puts a picture into a slot, none to empty it. */
export function put(place, picture) {
  slots()[place] = picture && { src: picture.src, base64: picture.base64, title: picture.title };
  state.blend.seed ??= Math.floor(Math.random() * 2 ** 32);
  save();
  showSlot(place);
  if (picture) announce(`${picture.title || 'The picture'} is the ${place === 0 ? 'first' : 'second'} of the blend.`);
  soon();
}

export function start() {
  const slider = byId('blend');
  slider.value = state.blend.at;
  slider.addEventListener('input', () => {
    state.blend.at = Number(slider.value);
    save();
    showFrame();
  });
  for (const place of [0, 1]) {
    showSlot(place);
    byId(`slot-${place}`).addEventListener('click', () => { if (slots()[place]) put(place, null); });
    document.addEventListener(place === 0 ? 'use-first' : 'use-second', ({ detail }) => put(place, detail));
  }
  if (slots()[0] && slots()[1]) draw();
}
