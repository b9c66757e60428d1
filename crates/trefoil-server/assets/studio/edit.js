// A picture that is changed: what is painted over is made anew, after the words.

import { byId, el, say } from './dom.js';
import { easel } from './easel.js';

/** How much is made anew unless one chooses: all of what is painted over, or some of the whole picture. */
const USUAL = { painted: 1, whole: 0.7 };
const WHOLE = 'Paint over what is to be made anew. As long as nothing is painted, all of it changes a little.';
const PAINTED = 'What is painted over is made anew; the rest stays as it is.';

/** Opens a picture to be changed. `send({prompt, mask, strength})` gets what was decided. */
export function open(picture, send) {
  const dialog = byId('edit');
  let chosen = null;
  const size = el('input', { type: 'range', id: 'brush-size', min: 4, max: 60, value: 24 });
  const eraser = el('input', { type: 'checkbox', role: 'switch', id: 'eraser' });
  const strength = el('input', { type: 'range', id: 'strength', min: 0.1, max: 1, step: 0.05 });
  const shown = el('output', { for: 'strength' });
  const note = el('p', { class: 'quiet', id: 'edit-note' });
  const error = el('p', { class: 'error', role: 'alert', hidden: true });
  const prompt = el('textarea', { id: 'edit-prompt', rows: 2, maxlength: 4000, placeholder: 'a green apple' });
  prompt.value = picture.settings?.prompt || picture.settings?.caption || picture.caption || '';

  function show() {
    const isPainted = canvas.mask() !== null;
    note.textContent = isPainted ? PAINTED : WHOLE;
    strength.value = chosen ?? (isPainted ? USUAL.painted : USUAL.whole);
    shown.textContent = `${Math.round(strength.value * 100)} %`;
  }

  const canvas = easel(picture, {
    brush: () => ({ size: size.value / 100, isEraser: eraser.checked }),
    onchange: show,
  });
  size.addEventListener('input', canvas.resize);
  strength.addEventListener('input', () => {
    chosen = strength.value;
    show();
  });

  function decide(event) {
    event.preventDefault();
    const words = prompt.value.trim();
    if (!words) {
      say(error, 'Say what the picture is to show.');
      prompt.focus();
      return;
    }
    dialog.close();
    send({ prompt: words, mask: canvas.mask(), strength: Number(strength.value) });
  }

  const button = (text, onclick) => el('button', { type: 'button', text, onclick });
  dialog.replaceChildren(
    el('form', { method: 'dialog', class: 'close' },
      el('button', { class: 'plain', 'aria-label': 'Close', text: '✕' })),
    el('h2', { id: 'edit-title', text: 'Change a picture' }),
    el('div', { class: 'viewer' }, canvas.node,
      el('form', { class: 'editing', onsubmit: decide },
        el('div', { class: 'field' }, el('label', { for: 'edit-prompt', text: 'What it is to show' }), prompt, error),
        note,
        el('div', { class: 'field' }, el('label', { for: 'brush-size', text: 'Brush' }), size),
        el('div', { class: 'row wrap' },
          el('label', { class: 'switch' }, eraser, el('span', { text: 'Erase' })),
          button('Undo', canvas.undo), button('Clear', canvas.clear)),
        el('div', { class: 'field' }, el('label', { for: 'strength', text: 'How much is made anew ' }, shown), strength),
        el('div', { class: 'row' }, el('button', { type: 'submit', class: 'primary', id: 'edit-draw', text: 'Draw' })))));
  dialog.showModal();
  canvas.node.querySelector('img').decode().then(show, () => {});
}
