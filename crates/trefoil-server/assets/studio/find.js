// The view that finds: search, the catalogue, and a feed that follows each click.

import { ask, get, post } from './api.js';
import { announce, byId, debounce, el, say } from './dom.js';
import { itemTile } from './items.js';
import { save, state } from './state.js';
import { explain } from './why.js';
import * as wish from './wish.js';

const PAGE = 48;
const RESULTS = 24;
const FEED = 12;
const TYPING = 220;

let isThere = false;
let after = null;
let searching = null;
let feeding = null;
let feed = [];
const chosen = new Map();

const fail = (error) => {
  if (error.name !== 'AbortError') say(byId('find-error'), error.message);
};

function newId() {
  // `randomUUID` is missing on pages that are not served from this machine or by TLS.
  return `studio-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
}

/** Records that the user chose an item, and asks for the feed that follows from it. */
async function choose(id, title, query) {
  const { user } = state.find;
  try {
    await post('v1/events', { id: newId(), user, item: id, query });
    chosen.set(id, title);
    showChosen();
    document.querySelectorAll(`#results [data-item="${CSS.escape(id)}"]`).forEach((tile) => {
      tile.classList.add('is-chosen');
      tile.querySelector('.choose').setAttribute('aria-label', `${title}, chosen`);
    });
    await showFeed({ after: title });
  } catch (error) {
    fail(error);
  }
}

function tiles(hits, query, isNew = () => false) {
  const { user } = state.find;
  return hits.map((hit) => {
    const id = hit.item ?? hit.id;
    const onchoose = () => choose(id, hit.title || id, query);
    const onwhy = hit.item ? () => explain(hit, {
      user, query, onchoose: (other) => choose(other.item, other.title, ''),
    }) : undefined;
    return itemTile(hit, { onchoose, onwhy, isSearch: Boolean(query), isNew: isNew(id), isChosen: chosen.has(id) });
  });
}

function showChosen() {
  const titles = [...chosen.values()].slice(-6).reverse();
  byId('chosen').textContent = titles.length > 0 ? `You chose ${titles.join(', ')}.` : 'Choose something: the feed follows.';
  byId('forget').hidden = titles.length === 0;
}

async function showFeed({ after: title } = {}) {
  feeding?.abort();
  const patience = feeding = new AbortController();
  const { user } = state.find;
  const answer = await post('v1/recommend', { user, k: FEED, explain: true }, { signal: patience.signal });
  const before = new Set(feed);
  feed = answer.hits.map(({ item }) => item);
  const news = feed.filter((item) => !before.has(item)).length;
  const isNew = (id) => Boolean(title) && !before.has(id);
  byId('feed').replaceChildren(...tiles(answer.hits, '', isNew));
  byId('feed-note').textContent = answer.order === 'popularity' ? 'what most people choose' : 'from what you chose';
  if (title) announce(`${title}: noted. ${news} of ${feed.length} in your feed are new.`);
}

async function showCatalogue(isMore) {
  const path = `v1/items?limit=${PAGE}${isMore && after ? `&after=${encodeURIComponent(after)}` : ''}`;
  const page = await get(path, { signal: searching.signal });
  after = page.next ?? null;
  const shown = tiles(page.items, '');
  if (isMore) byId('results').append(...shown);
  else byId('results').replaceChildren(...shown);
  byId('results-title').textContent = 'Catalogue';
  byId('results-note').textContent = `${page.count.toLocaleString('en')} items`;
  byId('more').hidden = !after;
}

async function showResults(query, added) {
  const { user } = state.find;
  const request = { query, user, k: RESULTS, explain: true };
  const answer = await post('v1/search', request, { signal: searching.signal });
  const { hits, unmatched_terms: unmatched } = answer;
  const place = hits.findIndex(({ item }) => item === added?.id);
  byId('results').replaceChildren(...tiles(hits, query, (id) => id === added?.id));
  byId('results-title').textContent = `Results for “${query}”`;
  const unknown = unmatched.length > 0 ? `; no item has “${unmatched.join('”, “')}”` : '';
  byId('results-note').textContent = `${hits.length === RESULTS ? 'the best ' : ''}${hits.length || 'none'}${unknown}`;
  byId('more').hidden = true;
  if (added) {
    wish.clear();
    announce(`${added.title} is in the catalogue, as number ${place + 1} of this search. It is described as: ${added.caption}.`);
    document.querySelector(`#results [data-item="${CSS.escape(added.id)}"] .choose`)?.focus();
    return;
  }
  wish.offer(query, {
    isMissing: hits.length === 0 || unmatched.length > 0,
    onadded: (item) => search({ added: item }),
  });
  announce(hits.length > 0 ? `${hits.length} results.` : 'Nothing fits. It can be drawn.');
}

async function search({ added } = {}) {
  typing.cancel();
  searching?.abort();
  searching = new AbortController();
  say(byId('find-error'), '');
  const query = state.find.query.trim();
  try {
    if (/[\p{L}\p{N}]/u.test(query)) {
      await showResults(query, added);
    } else {
      wish.clear();
      await showCatalogue(false);
    }
  } catch (error) {
    fail(error);
  }
}

const typing = debounce(() => search(), TYPING);

/** What the user chose in earlier visits; a token that may only read does not see it. */
async function remember() {
  const { user } = state.find;
  const { events } = await get(`v1/users/${encodeURIComponent(user)}/events`).catch(() => ({ events: [] }));
  const latest = [...new Set(events.map(({ item }) => item).reverse())].slice(0, 6).reverse();
  const items = await Promise.all(latest.map((id) => get(`v1/items/${encodeURIComponent(id)}`).catch(() => null)));
  items.filter(Boolean).forEach(({ id, title }) => chosen.set(id, title || id));
  showChosen();
}

async function forget() {
  const { user } = state.find;
  try {
    await ask('DELETE', `v1/users/${encodeURIComponent(user)}`);
    chosen.clear();
    showChosen();
    await Promise.all([showFeed({ after: 'Forgotten' }), search()]);
  } catch (error) {
    fail(error);
  }
}

/** What the server can do. */
export function setModels(models) {
  isThere = models.some(({ id }) => id.startsWith('recommender'));
  wish.setModels(models);
  for (const id of ['query', 'feed', 'results']) byId(id).closest('form, section').hidden = !isThere;
  const missing = 'This server has no recommender. Start it with ';
  say(byId('find-error'), isThere ? '' : missing, el('code', { text: 'trefoil serve --recommender DIR' }), '.');
}

/** Shows what belongs to the view, each time that it is opened. */
export async function open() {
  byId('query').value = state.find.query;
  if (!isThere) return;
  await Promise.all([search(), remember().then(() => showFeed())]).catch(fail);
}

export function start(view) {
  byId('search-form').addEventListener('submit', (event) => {
    event.preventDefault();
    search();
  });
  byId('query').addEventListener('input', ({ target }) => {
    state.find.query = target.value;
    save();
    typing();
  });
  byId('more').addEventListener('click', () => showCatalogue(true).catch(fail));
  byId('forget').addEventListener('click', forget);
  document.addEventListener('keydown', (event) => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '');
    if (event.key !== '/' || isTyping || view.hidden || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    byId('query').focus();
  });
  showChosen();
}
