// Items of the catalogue as tiles.

import { respond } from './api.js';
import { el } from './dom.js';

/** Pictures that are fetched at a time: the server counts how often it is asked. */
const AT_ONCE = 6;
/** Pictures that are kept. */
const MOST = 600;

const known = new Map();
const waiting = [];
let running = 0;

async function next() {
  if (running >= AT_ONCE || waiting.length === 0) return;
  running += 1;
  const { id, resolve } = waiting.shift();
  try {
    // Not by an address in `src`, which has no place for a token.
    const response = await respond('GET', `v1/items/${encodeURIComponent(id)}/picture`);
    resolve(URL.createObjectURL(await response.blob()));
  } catch {
    known.delete(id);
    resolve(null);
  } finally {
    running -= 1;
    next();
  }
}

/** The picture of an item as an address of this page, null if it cannot be had. */
export function picture(id) {
  if (!known.has(id)) {
    known.set(id, new Promise((resolve) => waiting.push({ id, resolve })));
    next();
    if (known.size > MOST) {
      const [oldest, address] = known.entries().next().value;
      known.delete(oldest);
      address.then((text) => text && URL.revokeObjectURL(text));
    }
  }
  return known.get(id);
}

/** An image that shows itself when it is there. */
export function image(item, hasPicture) {
  const shown = el('img', { alt: '', hidden: true });
  if (hasPicture) {
    picture(item).then((address) => {
      if (!address) return;
      shown.src = address;
      shown.hidden = false;
    });
  }
  return shown;
}

/** Words that say in one line who put an item there: in a search it was the query, whatever the user did before. */
function reason(hit, isSearch) {
  const because = hit.why?.neighbours?.find(({ contribution }) => contribution > 0);
  if (because && !isSearch) return `because of ${because.title}`;
  return {
    popularity: 'popular',
    text: 'by its words',
    model: 'by its meaning',
    both: 'by words and meaning',
    neighbours: 'like what you chose',
  }[hit.source] ?? '';
}

/**
 * A tile: a button that chooses the item, one that says why it is there. `hit` is a hit of an answer or an item of the
 * catalogue; the latter has nothing to explain.
 */
export function itemTile(hit, { onchoose, onwhy, isSearch = false, isNew = false, isChosen = false }) {
  const id = hit.item ?? hit.id;
  const title = hit.title || id;
  const note = onwhy ? reason(hit, isSearch) : '';
  const classes = ['item', isNew && 'is-new', isChosen && 'is-chosen'].filter(Boolean).join(' ');
  return el('li', { class: classes, 'data-item': id },
    el('button', { type: 'button', class: 'choose', 'aria-label': isChosen ? `${title}, chosen` : title, onclick: onchoose },
      image(id, hit.has_picture), el('span', { class: 'title', text: title }),
      note ? el('span', { class: 'reason', text: note }) : null),
    onwhy ? el('button', { type: 'button', class: 'ask', 'aria-label': `Why ${title}?`, title: 'Why is it here?', text: '?', onclick: onwhy }) : null);
}
