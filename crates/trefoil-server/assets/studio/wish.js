// What the catalogue does not have is drawn, described and put into it.

import { post } from './api.js';
import { announce, byId, el, say } from './dom.js';
import { pictureOf, waiting } from './gallery.js';
import { Stopped, run } from './jobs.js';

/** Pictures to choose from. */
const CHOICE = 4;

let patience = null;
let hasOneStep = false;

export function setModels(models) {
  hasOneStep = models.find(({ id }) => id === 'one-step')?.tasks?.includes('text-to-image') ?? false;
}

/** Takes the offer away, and stops what was being drawn. */
export function clear() {
  patience?.abort();
  byId('wish').replaceChildren();
}

/** What the model says that a picture shows; the words of the wish if it says nothing. */
async function captionOf(picture, words) {
  const drawn = await post('v1/captions', { image: picture.base64 });
  return drawn.data[0]?.caption || words;
}

/**
 * Offers to draw `words`. `isMissing` says that nothing fits them, as opposed to some things fitting. `onadded(item)`
 * is called when a picture has joined the catalogue.
 */
export function offer(words, { isMissing, onadded }) {
  clear();
  const place = el('div', {});
  const button = el('button', { type: 'button', class: isMissing ? 'primary' : '', text: `Draw “${words}”` });
  const text = isMissing
    ? 'Nothing in the catalogue fits these words. Trefoil can draw it, and the picture joins the catalogue.'
    : 'Not what you looked for? Trefoil can draw it, and the picture joins the catalogue.';
  const panel = el('section', { class: `panel wish${isMissing ? ' is-missing' : ''}`, 'aria-label': 'Draw it' },
    el('p', { text }), button, place);
  button.addEventListener('click', () => draw(words, { place, button, onadded }));
  byId('wish').replaceChildren(panel);
}

async function draw(words, { place, button, onadded }) {
  const mine = patience = new AbortController();
  button.disabled = true;
  const progress = waiting(CHOICE);
  const stop = el('button', { type: 'button', class: 'cancel', text: 'Cancel', onclick: () => mine.abort() });
  const message = el('p', { class: 'error', role: 'alert', hidden: true });
  place.replaceChildren(progress.list, el('div', { class: 'row tight' }, progress.bar, progress.note, stop));
  announce(`Drawing ${words}.`);
  const onwait = (seconds) => {
    progress.note.textContent = `The queue of the server is full. It is tried again in ${seconds} s.`;
  };
  try {
    const request = { prompt: words, n: CHOICE, ...(hasOneStep ? { one_step: true } : {}) };
    const drawn = await run('generations', request, { onprogress: progress.show, onwait, signal: mine.signal });
    const tiles = drawn.data.map(pictureOf).map((picture, index) => el('li', { class: 'tile' }, el('button', {
      type: 'button', class: 'picture', 'aria-label': `Put drawing ${index + 1} of “${words}” into the catalogue`,
      onclick: (event) => add(words, picture, { list, message, chosen: event.currentTarget, onadded }),
    }, el('img', { src: picture.src, alt: '' }))));
    const list = el('ul', { class: 'tiles' }, ...tiles);
    place.replaceChildren(el('p', { text: 'Choose the one that joins the catalogue.' }), list, message);
    announce(`${CHOICE} drawings are ready. Choose the one that joins the catalogue.`);
    tiles[0]?.firstChild.focus();
  } catch (error) {
    button.disabled = false;
    place.replaceChildren(message);
    if (!mine.signal.aborted && !(error instanceof Stopped)) say(message, error.message);
    else announce('Cancelled.');
  }
}

async function add(words, picture, { list, message, chosen, onadded }) {
  const buttons = [...list.querySelectorAll('button')];
  buttons.forEach((button) => { button.disabled = true; });
  chosen.classList.add('is-chosen');
  say(message, '');
  try {
    const caption = await captionOf(picture, words);
    const id = `drawn-${crypto.getRandomValues(new Uint32Array(3)).join('-')}`;
    const item = { id, title: words, caption, tags: ['drawn'], picture: picture.base64 };
    await post('v1/items', { items: [item] });
    onadded({ id, title: words, caption });
  } catch (error) {
    buttons.forEach((button) => { button.disabled = false; });
    chosen.classList.remove('is-chosen');
    say(message, error.message);
  }
}
