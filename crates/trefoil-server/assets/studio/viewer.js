// One picture, large: what made it, and what can be made of it.

import { byId, el } from './dom.js';
import { described } from './settings.js';

/** Something that the rest of the page does with a picture. */
const ACTIONS = [
  ['Use settings', 'use-settings', (picture) => picture.settings],
  ['Variations', 'use-vary', () => true],
  ['Change', 'use-edit', () => true],
  ['Describe', 'use-describe', () => true],
  ['Blend: first', 'use-first', () => true],
  ['Blend: second', 'use-second', () => true],
];

export function view(picture) {
  const dialog = byId('viewer');
  const rows = picture.settings ? described(picture.settings) : [];
  const action = ([text, event]) => el('button', {
    type: 'button', text,
    onclick: () => {
      dialog.close();
      document.dispatchEvent(new CustomEvent(event, { detail: picture }));
    },
  });
  dialog.setAttribute('aria-label', picture.title || 'Picture');
  dialog.replaceChildren(
    el('form', { method: 'dialog', class: 'close' },
      el('button', { class: 'plain', 'aria-label': 'Close', text: '✕' })),
    el('div', { class: 'viewer' },
      el('img', { src: picture.src, alt: picture.title || 'the picture' }),
      el('div', {},
        el('dl', {}, ...rows.flatMap(([name, value]) => [el('dt', { text: name }), el('dd', { text: value })])),
        rows.length > 0 ? null : el('p', { class: 'quiet', text: 'This picture says nothing of how it was made.' }),
        el('div', { class: 'row wrap' },
          el('a', { class: 'button primary', href: picture.src, download: picture.name, text: 'Download' }),
          ...ACTIONS.filter(([,, applies]) => applies(picture)).map(action)))));
  dialog.showModal();
}

export function start() {
  const dialog = byId('viewer');
  // A click beside the dialog is one on the dialog itself, whose content fills it.
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
}
