// Why an item is where it is: the parts of its score, the words of the demand, the events that speak for it.

import { post } from './api.js';
import { byId, el, number } from './dom.js';
import { image, itemTile } from './items.js';

/** Items like it that are shown. */
const SIMILAR = 6;

/** Values as bars to both sides of zero, on one scale. */
function bars(rows) {
  const largest = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  return el('dl', { class: 'bars' }, ...rows.flatMap(([name, value, about]) => {
    const share = Math.abs(value) / largest;
    const meter = el('meter', { min: 0, max: 1, value: share, class: value < 0 ? 'is-against' : '', 'aria-hidden': 'true' });
    return [el('dt', { text: name, title: about }), el('dd', {}, meter, el('span', { text: number(value) }))];
  }));
}

const list = (title, words) => (words.length === 0 ? [] : [
  el('h3', { text: title }),
  el('ul', { class: 'words' }, ...words.map((word) => el('li', { text: word }))),
]);

function explained(why, isSearch) {
  const words = why.demand_words.filter(({ weight }) => weight > 0.2).map(({ word }) => word);
  const attention = why.attention.filter(({ weight }) => weight > 0.02)
    .map(({ word, weight }) => `${word} ${Math.round(weight * 100)} %`);
  const neighbours = why.neighbours.filter(({ contribution }) => contribution !== 0).map(({ title, query, contribution }) =>
    `${contribution < 0 ? 'against: ' : ''}${title}${query ? `, found by “${query}”` : ''}`);
  const farther = Math.round(why.closer_than * 1000) / 10;
  return [
    el('h3', { text: 'Parts of the score' }),
    bars([
      ['Inherent', why.inherent, 'what you like in general'],
      ['Demand', why.demand, isSearch ? 'what the query asks for' : 'what you seem to want now'],
    ]),
    el('p', { class: 'quiet', text: `Nearer to your intent and demand together than ${farther} % of the catalogue.` }),
    ...list(isSearch ? 'Words nearest to the query' : 'Words nearest to what you seem to want', words),
    ...list('Queries by which others found it', attention),
    ...list('What you did before', neighbours),
    ...(why.is_cold ? [el('p', { class: 'quiet', text: 'Nobody chose it yet: its place comes from its words.' })] : []),
    ...(why.unmatched_terms.length > 0
      ? [el('p', { class: 'quiet', text: `Not looked at: ${why.unmatched_terms.join(', ')}.` })] : []),
  ];
}

/** What placed items that no model placed; what the model thinks of them follows. */
const PLAIN = {
  popularity: 'You are new here: it is what most people choose.',
  text: 'Its title or tags have words of the query that the model does not know.',
};

/** Opens the explanation of a hit; `onchoose(hit)` is for similar items. */
export async function explain(hit, { user, query, onchoose }) {
  const dialog = byId('why');
  const title = hit.title || hit.item;
  const body = el('div', { class: 'why-body' }, el('p', { class: 'quiet', text: 'asking the server' }));
  dialog.replaceChildren(
    el('form', { method: 'dialog', class: 'close' }, el('button', { class: 'plain', 'aria-label': 'Close', text: '✕' })),
    el('div', { class: 'why-head' }, image(hit.item, hit.has_picture),
      el('h2', { id: 'why-title', text: `Why ${title}?` })),
    body);
  dialog.showModal();
  try {
    // What has no explanation of its own was placed without the model, or by words that it does not know.
    const [why, similar] = await Promise.all([
      hit.why ?? post('v1/explain', { item: hit.item, user }),
      post('v1/similar', { item: hit.item, k: SIMILAR }),
    ]);
    const tiles = similar.hits.map((other) => itemTile(other, {
      onchoose: () => {
        dialog.close();
        onchoose(other);
      },
    }));
    body.replaceChildren(
      ...(hit.why ? [] : [el('p', { text: PLAIN[hit.source] ?? PLAIN.text })]),
      ...explained(why, Boolean(hit.why && query)),
      ...(tiles.length > 0 ? [el('h3', { text: 'Like it' }), el('ul', { class: 'items small' }, ...tiles)] : []));
  } catch (error) {
    body.replaceChildren(el('p', { class: 'error', role: 'alert', text: error.message }));
  }
}

export function start() {
  const dialog = byId('why');
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
}
