// The view that draws: the form, and what it asks for.

import { announce, byId, el, say } from './dom.js';
import * as blend from './blend.js';
import { start as startDrop } from './drop.js';
import * as edit from './edit.js';
import * as gallery from './gallery.js';
import * as instant from './instant.js';
import { base64Of } from './png.js';
import { ofPng } from './settings.js';
import { save, state } from './state.js';

/** Captions of a picture that is opened. */
const CAPTIONS = 3;
/** What a model that recommends nothing is asked for. */
const USUAL = { steps: 25, guidance: 3 };

let recommended = USUAL;
let oneStepTasks = [];

const isInstant = () => state.create.instant && oneStepTasks.includes('text-to-image');

function seed() {
  const text = state.create.seed.trim();
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Fields that all requests share; `mode` is what they are for. */
function common(mode, isGuided = true) {
  const { count, steps, guidance } = state.create;
  if (isInstant() && oneStepTasks.includes(mode)) return { n: count, seed: seed(), one_step: true };
  const request = { n: count, seed: seed(), steps: steps ?? recommended.steps };
  return isGuided ? { ...request, guidance: guidance ?? recommended.guidance } : request;
}

function show() {
  const { prompt, negative, count, steps, guidance, seed: text } = state.create;
  byId('prompt').value = prompt;
  byId('negative').value = negative;
  byId('count').value = count;
  byId('count-shown').textContent = count;
  const now = { steps: steps ?? recommended.steps, guidance: guidance ?? recommended.guidance };
  for (const [name, value] of Object.entries(now)) {
    byId(name).value = value;
    byId(`${name}-shown`).textContent = value;
  }
  byId('seed').value = text;
  byId('instant').checked = isInstant();
  byId('instant-field').hidden = !oneStepTasks.includes('text-to-image');
  byId('many').disabled = isInstant();
  byId('draw').textContent = isInstant() ? 'Keep' : 'Draw';
}

function update() {
  save();
  show();
  const { prompt, count } = state.create;
  instant.update(isInstant(), { prompt, n: count, seed: seed() });
}

function complain(error) {
  say(byId('prompt-error'), error.message);
}

async function draw() {
  const prompt = state.create.prompt.trim();
  if (!prompt) {
    complain({ message: 'Say what is to be drawn.' });
    byId('prompt').focus();
    return;
  }
  say(byId('prompt-error'), '');
  const negative = state.create.negative.trim();
  const kept = isInstant() && instant.kept();
  const request = { prompt, ...common('text-to-image') };
  if (negative && !isInstant()) request.negative_prompt = negative;
  // What is kept is what was seen.
  if (kept && kept.prompt.trim() === prompt) request.seed ??= kept.seed;
  announce(`Drawing ${prompt}.`);
  await gallery.draw({ task: 'generations', request, title: prompt, count: request.n }).catch(complain);
}

async function pairs() {
  say(byId('prompt-error'), '');
  const request = common('joint');
  await gallery.draw({ task: 'pairs', request, title: 'Invented', count: request.n }).catch(complain);
}

async function vary(picture) {
  const request = { image: picture.base64, ...common('image-variation') };
  const title = `Variations of ${picture.title || 'a picture'}`;
  await gallery.draw({ task: 'variations', request, title, count: request.n }).catch(complain);
}

function change(picture) {
  edit.open(picture, async ({ prompt, mask, strength }) => {
    const request = { image: picture.base64, prompt, strength, ...common('edit') };
    if (mask) request.mask = mask;
    const title = `${prompt} (changed)`;
    await gallery.draw({ task: 'edits', request, title, count: request.n }).catch(complain);
  });
}

async function describe(picture) {
  const request = { image: picture.base64, n: CAPTIONS, seed: seed() };
  const shown = el('img', { class: 'thumbnail', src: picture.src, alt: 'the picture that is described' });
  await gallery.draw({ task: 'captions', request, title: picture.name, count: CAPTIONS, picture: shown })
    .catch((error) => say(byId('open-error'), error.message));
}

/** Puts the settings of a picture into the form. */
function restore(settings) {
  const mine = state.create;
  mine.prompt = settings.prompt || settings.caption;
  mine.negative = settings.negative;
  if (Number.isSafeInteger(settings.seed)) mine.seed = String(settings.seed);
  // The picture is one of several of its seed.
  mine.count = Math.min(8, Math.max(mine.count, settings.index + 1));
  mine.instant = settings.oneStep && oneStepTasks.length > 0;
  if (!settings.oneStep) Object.assign(mine, { steps: settings.steps, guidance: settings.guidance });
  update();
  announce('The settings of the picture are in the form.');
}

function open({ bytes, kind, name }) {
  say(byId('open-error'), '');
  const base64 = base64Of(bytes);
  const settings = ofPng(bytes);
  const title = settings?.prompt || settings?.caption || name;
  const picture = { src: `data:${kind};base64,${base64}`, base64, settings, title, name: name || 'pasted picture' };
  byId('drop').replaceChildren(
    el('img', { class: 'thumbnail', src: picture.src, alt: title }),
    el('p', { text: settings ? 'Drawn here or by a relative: its settings are in the form.' : 'It carries no settings.' }),
    el('div', { class: 'row wrap' },
      el('button', { type: 'button', text: 'Variations', onclick: () => vary(picture) }),
      el('button', { type: 'button', text: 'Change', onclick: () => change(picture) }),
      el('button', { type: 'button', text: 'Blend: first', onclick: () => blend.put(0, picture) }),
      el('button', { type: 'button', text: 'Blend: second', onclick: () => blend.put(1, picture) }),
      el('label', { class: 'link', for: 'file', text: 'Another file' }, byId('file'))));
  if (settings) restore(settings);
  describe(picture);
}

function listenToForm() {
  byId('draw-form').addEventListener('submit', (event) => {
    event.preventDefault();
    draw();
  });
  byId('prompt').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    draw();
  });
  const fields = { prompt: String, negative: String, seed: String, count: Number, steps: Number, guidance: Number };
  for (const [name, read] of Object.entries(fields)) {
    byId(name).addEventListener('input', ({ target }) => {
      state.create[name] = read(target.value);
      update();
    });
  }
  byId('instant').addEventListener('change', ({ target }) => {
    state.create.instant = target.checked;
    update();
  });
  byId('seed-clear').addEventListener('click', () => {
    state.create.seed = '';
    update();
    announce('Another seed each time.');
  });
  byId('reset').addEventListener('click', () => {
    Object.assign(state.create, { steps: null, guidance: null, negative: '', seed: '', count: 4 });
    update();
    announce('Settings as the model recommends.');
  });
  byId('pairs').addEventListener('click', pairs);
  byId('live-keep').addEventListener('click', draw);
}

function listenToPictures() {
  const on = (name, act) => document.addEventListener(name, ({ detail }) => act(detail));
  on('use-settings', (picture) => restore(picture.settings));
  on('use-vary', vary);
  on('use-edit', change);
  on('use-describe', describe);
  on('use-seed', (value) => {
    state.create.seed = String(value);
    update();
    announce(`Seed ${value}.`);
  });
  on('use-prompt', (prompt) => {
    state.create.prompt = prompt;
    update();
    byId('prompt').focus();
  });
}

/** What the server can do. */
export function setModels(models) {
  const model = models.find(({ id }) => id === 'unidiffuser');
  recommended = { ...USUAL, ...model?.recommended };
  oneStepTasks = models.find(({ id }) => id === 'one-step')?.tasks ?? [];
  update();
}

export function start(view) {
  listenToForm();
  listenToPictures();
  startDrop(view, open, (message) => say(byId('open-error'), message));
  show();
}

/** Shows what was there before the page was loaded again, once the server answers. */
export function resume() {
  blend.start();
  gallery.start();
}
