// What was drawn: a group for each job, the latest first. The state has the names of the jobs, the server their results.

import { announce, byId, el, say } from './dom.js';
import * as jobs from './jobs.js';
import { bytesOf } from './png.js';
import { fileName, ofPng } from './settings.js';
import { MOST_JOBS, save, state } from './state.js';
import { view } from './viewer.js';

const NAMES = {
  generations: 'drawn',
  variations: 'variations',
  edits: 'changed',
  pairs: 'invented pairs',
  captions: 'described',
  blends: 'blend',
};

/** A result of the server as a picture of the page. */
export function pictureOf({ b64_json: base64, caption = null, weight = null }) {
  const settings = ofPng(bytesOf(base64));
  const title = caption ?? settings?.prompt ?? '';
  return { src: `data:image/png;base64,${base64}`, base64, settings, title, caption, weight, name: fileName(settings) };
}

/** A picture as a button that shows it, with a link that downloads it. */
export function tile(picture) {
  const label = picture.title || 'a picture';
  return el('li', { class: 'tile' },
    el('button', { type: 'button', class: 'picture', 'aria-label': `Show: ${label}`, onclick: () => view(picture) },
      el('img', { src: picture.src, alt: label })),
    el('a', { class: 'download', href: picture.src, download: picture.name, 'aria-label': `Download: ${label}`, text: '↓' }),
    picture.caption ? el('p', { class: 'caption', text: picture.caption }) : null);
}

/** Empty places that become pictures; `show` puts previews and how far they are. */
export function waiting(count) {
  const images = Array.from({ length: count }, () => el('img', { alt: '', class: 'preview', hidden: true }));
  const list = el('ul', { class: 'tiles', 'aria-hidden': 'true' },
    ...images.map((image) => el('li', { class: 'tile' }, el('span', { class: 'picture is-waiting' }, image))));
  const bar = el('progress', { max: 1, value: 0, 'aria-label': 'Progress' });
  const note = el('span', { class: 'quiet', text: 'waiting for its turn' });
  const show = ({ progress, done, step, steps, previews = [] }) => {
    bar.value = progress;
    note.textContent = steps > 0 ? `step ${step} of ${steps}` : done > 0 ? `${done} of ${count}` : 'waiting for its turn';
    previews.forEach((preview, place) => {
      const image = images[done + place];
      if (!image) return;
      image.src = `data:image/png;base64,${preview}`;
      image.hidden = false;
    });
  };
  return { list, bar, note, show };
}

function toggleEmpty() {
  const isEmpty = byId('gallery').childElementCount === 0;
  byId('gallery-empty').hidden = !isEmpty;
  byId('gallery-clear').hidden = isEmpty;
}

function forget(id) {
  state.jobs = state.jobs.filter((job) => job.id !== id);
  save();
}

/** A group at its place, with the texts and buttons that every group has. */
function frame({ task, title }) {
  const meta = el('span', { class: 'quiet', text: NAMES[task] ?? task });
  const actions = el('span', { class: 'actions' });
  const body = el('div', { class: 'group-body' });
  const group = el('article', { class: 'panel group', 'aria-label': title },
    el('div', { class: 'head' }, el('h3', { text: title }), meta, actions), body);
  const remove = (id) => el('button', {
    type: 'button', class: 'plain', 'aria-label': `Remove: ${title}`, text: '✕',
    onclick: () => {
      group.remove();
      forget(id);
      toggleEmpty();
      announce('Removed.');
    },
  });
  return { group, meta, actions, body, remove };
}

function showResult(parts, job, drawn) {
  const { meta, actions, body, remove } = parts;
  const pictures = drawn.data.filter((one) => one.b64_json).map(pictureOf);
  const seed = el('button', {
    type: 'button', class: 'plain', title: 'Use this seed again', text: `seed ${drawn.seed}`,
    onclick: () => document.dispatchEvent(new CustomEvent('use-seed', { detail: drawn.seed })),
  });
  const isOnce = pictures[0]?.settings?.oneStep;
  meta.textContent = [NAMES[job.task] ?? job.task, isOnce ? 'one step' : ''].filter(Boolean).join(', ');
  actions.replaceChildren(seed, remove(job.id));
  if (pictures.length > 0) {
    body.replaceChildren(el('ul', { class: 'tiles' }, ...pictures.map(tile)));
    return;
  }
  body.replaceChildren(el('ul', { class: 'captions' }, ...drawn.data.map((one) => el('li', {}, el('button', {
    type: 'button', class: 'link', title: 'Draw this', text: one.caption,
    onclick: () => document.dispatchEvent(new CustomEvent('use-prompt', { detail: one.caption })),
  })))));
}

/** Follows a job in its group to the end. Returns its result, null when it was stopped or failed. */
async function attend(parts, job, { picture } = {}) {
  const { body, actions, group } = parts;
  const progress = waiting(job.task === 'captions' ? 0 : job.count);
  const stop = el('button', {
    type: 'button', text: 'Cancel', class: 'cancel',
    onclick: async () => {
      stop.disabled = true;
      progress.note.textContent = 'stopping';
      await jobs.cancel(job.id).catch((error) => { progress.note.textContent = error.message; });
    },
  });
  const message = el('p', { class: 'error', role: 'alert', hidden: true });
  actions.replaceChildren(stop);
  group.setAttribute('aria-busy', 'true');
  body.replaceChildren(progress.list, el('div', { class: 'row tight' }, progress.bar, progress.note), message);
  if (picture) body.prepend(picture);
  try {
    const drawn = job.isDone ? await jobs.result(job.id) : await jobs.follow(job.id, progress.show);
    Object.assign(job, { isDone: true });
    save();
    showResult(parts, job, drawn);
    if (picture) body.prepend(picture);
    return drawn;
  } catch (error) {
    actions.replaceChildren(parts.remove(job.id));
    body.replaceChildren(message);
    forget(job.id);
    if (error instanceof jobs.Stopped) {
      say(message, 'Cancelled.');
      announce('Cancelled.');
    } else if (error.status === 404) {
      group.remove();
      toggleEmpty();
    } else {
      say(message, error.message);
    }
    return null;
  } finally {
    group.removeAttribute('aria-busy');
  }
}

/**
 * Begins a job and shows it. `about` is `{task, request, title, count, picture}`; resolves with the result, or null.
 * Throws what the server has against the request before the job begins.
 */
export async function draw({ task, request, title, count, picture }) {
  const parts = frame({ task, title });
  const note = el('p', { class: 'quiet', role: 'status', text: 'asking the server' });
  const patience = new AbortController();
  const stop = el('button', { type: 'button', text: 'Cancel', class: 'cancel', onclick: () => patience.abort() });
  parts.actions.append(stop);
  parts.body.append(note);
  byId('gallery').prepend(parts.group);
  toggleEmpty();
  // On a small screen it is below the form.
  parts.group.scrollIntoView({ block: 'nearest' });
  const onwait = (seconds) => {
    note.textContent = `The queue of the server is full. It is tried again in ${seconds} s.`;
  };
  let made;
  try {
    made = await jobs.begin(task, request, { onwait, signal: patience.signal });
  } catch (error) {
    parts.group.remove();
    toggleEmpty();
    if (patience.signal.aborted) {
      announce('Cancelled.');
      return null;
    }
    throw error;
  }
  const job = { id: made.id, task, title, count };
  state.jobs = [job, ...state.jobs].slice(0, MOST_JOBS);
  save();
  // The state was copied by `slice`, its jobs were not.
  const drawn = await attend(parts, job, { picture });
  if (drawn) announce(drawn.data[0]?.b64_json ? `Ready: ${title}.` : `Described: ${drawn.data[0]?.caption}.`);
  return drawn;
}

/** Shows the jobs that the state names, of which some may still run. */
export function start() {
  const shown = state.jobs.map((job) => ({ job, parts: frame(job) }));
  byId('gallery').append(...shown.map(({ parts }) => parts.group));
  toggleEmpty();
  byId('gallery-clear').addEventListener('click', () => {
    for (const { id } of state.jobs) forget(id);
    byId('gallery').replaceChildren();
    toggleEmpty();
    announce('All pictures were removed from this page.');
  });
  // A few at a time: the server counts how often it is asked.
  const rest = [...shown];
  const worker = async () => {
    for (let next; (next = rest.shift());) await attend(next.parts, next.job);
  };
  for (let count = 0; count < 4; count += 1) worker();
}
