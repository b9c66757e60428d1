// Pictures of a run over time: a slider for each series of files.

import { respond } from './api.js';
import { byId, el, number } from './dom.js';

/** Pictures that are kept, for a slider that moves back and forth. */
const MOST = 60;
/** Milliseconds of a picture when they play. */
const BEAT = 350;

const known = new Map();
let shown = '';
let series = new Map();

/** `pictures-000100032.png` is the picture of the series `pictures` after 100032 samples. */
function split(file) {
  const [, name, at] = /^(.*?)-?(\d+)\.png$/.exec(file) ?? [null, file.replace(/\.png$/, ''), null];
  return { name: name || 'samples', at: at === null ? null : Number(at), file };
}

async function address(run, file) {
  const key = `${run}/${file}`;
  if (!known.has(key)) {
    const path = `v1/runs/${encodeURIComponent(run)}/samples/${encodeURIComponent(file)}`;
    known.set(key, respond('GET', path).then((response) => response.blob()).then(URL.createObjectURL));
    if (known.size > MOST) {
      const [oldest, old] = known.entries().next().value;
      known.delete(oldest);
      old.then(URL.revokeObjectURL, () => {});
    }
  }
  return known.get(key);
}

/** A picture, a slider over its times, and a button that plays them. */
function player(run, name, first) {
  let files = first;
  let place = files.length - 1;
  let timer = 0;
  const image = el('img', { alt: '' });
  const label = el('output', { class: 'quiet' });
  const slider = el('input', { type: 'range', min: 0, 'aria-label': `${name} over time` });
  const play = el('button', { type: 'button', text: '▶', 'aria-label': `Play ${name}` });
  const show = async () => {
    const { at, file } = files[place];
    const text = at === null ? name : `after ${number(at)} samples`;
    slider.max = files.length - 1;
    slider.value = place;
    slider.setAttribute('aria-valuetext', text);
    label.textContent = text;
    slider.hidden = play.hidden = files.length < 2;
    const wanted = place;
    const source = await address(run, file).catch(() => '');
    // A slow answer must not replace a later one.
    if (wanted !== place || !source) return;
    image.src = source;
    image.alt = `${name}, ${text}`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = '▶';
    play.setAttribute('aria-label', `Play ${name}`);
  };
  slider.addEventListener('input', () => {
    stop();
    place = Number(slider.value);
    show();
  });
  play.addEventListener('click', () => {
    if (timer) return stop();
    if (place === files.length - 1) place = -1;
    play.textContent = '❚❚';
    play.setAttribute('aria-label', `Pause ${name}`);
    timer = setInterval(() => {
      // The view may have gone.
      if (place >= files.length - 1 || !image.isConnected) return stop();
      place += 1;
      return show();
    }, BEAT);
    return undefined;
  });
  show();
  const figure = el('figure', {}, el('figcaption', {}, el('b', { text: name }), label), image,
    el('div', { class: 'row tight' }, play, slider));
  const update = (all) => {
    const isLast = place === files.length - 1;
    const hasMore = all.length > files.length;
    files = all;
    // Whoever looks at the latest picture wants to see the next one.
    if (hasMore && isLast) place = files.length - 1;
    if (hasMore) show();
  };
  return { figure, update, stop };
}

/** Shows the pictures of a run, or those that have been added since. */
export function showSamples(run, files) {
  const place = byId('samples');
  const groups = grouped(files.map(split));
  if (shown !== run) {
    for (const { stop } of series.values()) stop();
    series = new Map();
    place.replaceChildren(el('h3', { text: 'Samples' }));
    shown = run;
  }
  for (const [name, all] of groups) {
    if (series.has(name)) {
      series.get(name).update(all);
    } else {
      const made = player(run, name, all);
      series.set(name, made);
      place.append(made.figure);
    }
  }
  place.hidden = series.size === 0;
}

function grouped(parts) {
  const groups = new Map();
  for (const part of parts) groups.set(part.name, [...(groups.get(part.name) ?? []), part]);
  return groups;
}
