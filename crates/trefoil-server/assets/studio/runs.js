// The view of trainings: which there are, and how one of them goes, while it runs too.

import { get } from './api.js';
import { chart } from './chart.js';
import { byId, debounce, el, number, say } from './dom.js';
import { showSamples } from './samples.js';
import { save, state } from './state.js';

/** Milliseconds between two looks at a run, and at the list of them. */
const LOOK = 2000;
const LIST = 10_000;
/** Seconds after its latest line during which a run counts as live. */
const FRESH = 60;
/** Lines of an answer of the server: one that has as many is followed by more. */
const LINES = 5000;
/** Numbers that say where a line is, and have no curve. */
const PLACES = ['step', 'samples', 'epoch', 'seconds'];
/** Numbers that were set, not measured: there is nothing to be smoothed. */
const EXACT = ['learning rate', 'ema decay'];
/** Numbers at the top. */
const LATEST = ['samples', 'step', 'loss', 'learning_rate', 'samples_per_second', 'seconds'];

let isOpen = false;
let timers = [];
let list = [];
/** The run that is shown: its name, lines, and what to ask for next. */
let run = null;

const spoken = (name) => name.replaceAll('_', ' ');

/** The numbers of a line by name; those of tables within it have both names. */
function flat(line, prefix = '') {
  const values = {};
  for (const [name, value] of Object.entries(line ?? {})) {
    if (typeof value === 'number') values[prefix + name] = value;
    else if (value && typeof value === 'object' && !Array.isArray(value)) Object.assign(values, flat(value, `${prefix}${name}/`));
  }
  return values;
}

/** Curves: one chart for each number, one for all numbers of a table. */
function curves(lines) {
  const unit = ['samples', 'step'].find((name) => lines.some((line) => line[name] !== undefined)) ?? 'lines';
  const charts = new Map();
  lines.forEach((line, place) => {
    const x = line[unit] ?? place;
    for (const [name, y] of Object.entries(line)) {
      if (PLACES.includes(name) || !Number.isFinite(y)) continue;
      const [group, part] = name.includes('/') ? name.split(/\/(.*)/) : [name, name];
      if (!charts.has(group)) charts.set(group, new Map());
      const series = charts.get(group);
      if (!series.has(part)) series.set(part, []);
      series.get(part).push([x, y]);
    }
  });
  return [...charts].map(([group, series]) => ({
    title: spoken(group),
    unit,
    series: [...series].map(([name, points]) => ({ name: spoken(name), points })),
  }));
}

function showCharts() {
  if (!run) return;
  const { smooth, log: isLog } = state.runs;
  const figures = curves(run.lines).map((one) => chart({ ...one, smooth: EXACT.includes(one.title) ? 0 : smooth, isLog })).filter(Boolean);
  byId('charts').replaceChildren(...figures);
}

function showLatest() {
  const last = run.lines[run.lines.length - 1] ?? {};
  const names = LATEST.filter((name) => last[name] !== undefined);
  byId('run-latest').replaceChildren(...names.map((name) => el('div', {},
    el('dt', { text: spoken(name) }), el('dd', { text: number(last[name]) }))));
  const modified = list.find(({ name }) => name === run.name)?.modified ?? 0;
  byId('run-live').hidden = Date.now() / 1000 - Math.max(modified, run.changed) > FRESH;
}

/** Asks for what was added to the run. Two looks at once would show lines twice. */
async function look() {
  const mine = run;
  if (!mine || mine.isLooking) return;
  mine.isLooking = true;
  try {
    await read(mine);
  } finally {
    mine.isLooking = false;
  }
}

async function read(mine) {
  const path = `v1/runs/${encodeURIComponent(mine.name)}?after=`;
  let added;
  do {
    const answer = await get(`${path}${mine.next}`);
    // Another run may have been chosen meanwhile.
    if (run !== mine) return;
    added = answer.metrics.length;
    if (answer.next < mine.next) mine.lines = [];
    if (added > 0 && mine.next > 0) mine.changed = Date.now() / 1000;
    mine.lines.push(...answer.metrics.map((line) => flat(line)));
    mine.next = answer.next;
    byId('run-config').textContent = answer.config || 'none';
    showSamples(mine.name, answer.samples);
    if (added > 0) showCharts();
  } while (added === LINES);
  showLatest();
}

function choose(name) {
  state.runs.name = name;
  save();
  run = { name, lines: [], next: 0, changed: 0 };
  byId('run-title').textContent = name;
  byId('charts').replaceChildren();
  byId('run-body').hidden = false;
  showNames();
  look().catch(fail);
}

function showNames() {
  const part = byId('run-filter').value.trim().toLowerCase();
  const names = list.filter(({ name }) => name.toLowerCase().includes(part));
  const focused = document.activeElement?.dataset?.run;
  byId('run-names').replaceChildren(...names.map(({ name, modified }) => el('li', {}, el('button', {
    type: 'button', 'data-run': name, 'aria-current': name === state.runs.name ? 'true' : null, onclick: () => choose(name),
  }, el('span', { text: name || 'the folder itself' }), el('time', {
    class: 'quiet', datetime: new Date(modified * 1000).toISOString(), text: since(modified),
  })))));
  if (focused !== undefined) document.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  byId('runs-note').textContent = part ? `${names.length} of ${list.length}` : String(list.length);
}

function since(modified) {
  const seconds = Math.max(0, Date.now() / 1000 - modified);
  const [size, name] = [[86400, 'd'], [3600, 'h'], [60, 'min']].find(([one]) => seconds >= one) ?? [1, 's'];
  return `${Math.floor(seconds / size)} ${name} ago`;
}

async function showList() {
  list = (await get('v1/runs')).runs;
  say(byId('runs-error'), list.length > 0 ? '' : 'There is no run in this folder yet. One appears with its first line of the log.');
  showNames();
  const isThere = list.some(({ name }) => name === run?.name);
  if (isThere) return;
  const first = list.find(({ name }) => name === state.runs.name) ?? list[0];
  if (first) choose(first.name);
}

function fail(error) {
  const isOff = error.status === 409 && !run;
  byId('runs').classList.toggle('is-off', isOff);
  if (!isOff) return say(byId('runs-error'), error.message);
  // Nothing will come: the server has to be started in another way.
  setOpen(false);
  return say(byId('runs-error'), 'This server shows no runs. Start it with ', el('code', { text: 'trefoil serve --runs DIR' }), '.');
}

/** Whether the view is shown; only then the server is asked again and again. */
export function setOpen(open) {
  if (open === isOpen) return;
  isOpen = open;
  timers.forEach(clearInterval);
  timers = [];
  if (!open) return;
  showList().then(look).catch(fail);
  const quietly = (act) => () => { if (!document.hidden) act().catch(fail); };
  timers = [setInterval(quietly(look), LOOK), setInterval(quietly(showList), LIST)];
}

export function start() {
  byId('run-filter').addEventListener('input', showNames);
  byId('smooth').value = state.runs.smooth;
  byId('log').checked = state.runs.log;
  const redraw = debounce(showCharts, 30);
  byId('smooth').addEventListener('input', ({ target }) => {
    state.runs.smooth = Number(target.value);
    save();
    redraw();
  });
  byId('log').addEventListener('change', ({ target }) => {
    state.runs.log = target.checked;
    save();
    redraw();
  });
}
