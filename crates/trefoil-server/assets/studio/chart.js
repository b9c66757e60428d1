// Curves over samples, as SVG. Colours come from the style sheet, by number.

import { el, number, svg } from './dom.js';

const WIDTH = 480;
const HEIGHT = 220;
const LEFT = 56;
const BOTTOM = 24;
const TOP = 8;
const RIGHT = 8;
/** Points of a curve; more could not be seen. */
const MOST = 400;

/** Exponential moving average, with the correction for its beginning. */
export function smoothed(points, weight) {
  let sum = 0;
  let norm = 0;
  return points.map(([x, y]) => {
    sum = weight * sum + (1 - weight) * y;
    norm = weight * norm + (1 - weight);
    return [x, sum / norm];
  });
}

/** As many points as can be seen, each the mean of its neighbours. */
function thinned(points) {
  const size = Math.ceil(points.length / MOST);
  if (size < 2) return points;
  const means = [];
  for (let at = 0; at < points.length; at += size) {
    const part = points.slice(at, at + size);
    means.push([part[part.length - 1][0], part.reduce((sum, [, y]) => sum + y, 0) / part.length]);
  }
  return means;
}

/** Round numbers between two bounds. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step) * step;
  const found = [];
  for (let value = first; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

const compact = (value) => value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** Where values are on the drawing. */
function scale(series, isLog) {
  const all = series.flatMap(({ points }) => points);
  const height = (y) => (isLog ? Math.log10(y) : y);
  let [low, high] = [Infinity, -Infinity];
  let [begin, end] = [Infinity, -Infinity];
  for (const [x, y] of all) {
    begin = Math.min(begin, x);
    end = Math.max(end, x);
    low = Math.min(low, height(y));
    high = Math.max(high, height(y));
  }
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low - margin, high + margin];
  return {
    begin, end, low, high,
    x: (value) => LEFT + ((value - begin) / (end - begin || 1)) * (WIDTH - LEFT - RIGHT),
    y: (value) => TOP + ((high - height(value)) / (high - low)) * (HEIGHT - TOP - BOTTOM),
  };
}

function axes(at, isLog) {
  const lines = ticks(at.low, at.high, 4).map((value) => {
    const y = at.y(isLog ? 10 ** value : value);
    return svg('g', {},
      svg('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
      svg('text', { x: LEFT - 6, y: y + 4, 'text-anchor': 'end', text: number(isLog ? Number((10 ** value).toPrecision(2)) : Number(value.toPrecision(6))) }));
  });
  const marks = ticks(at.begin, at.end, 4).map((value) => svg('text', {
    x: at.x(value), y: HEIGHT - 6, 'text-anchor': 'middle', text: compact(value),
  }));
  return [...lines, ...marks];
}

const path = (points, at) =>
  points.map(([x, y], place) => `${place ? 'L' : 'M'}${at.x(x).toFixed(1)} ${at.y(y).toFixed(1)}`).join('');

/** What a chart shows, for those who do not see it. */
function told(title, unit, series) {
  const one = ({ name, points }) => {
    const values = points.map(([, y]) => y);
    const lowest = values.reduce((a, b) => Math.min(a, b), Infinity);
    return `${name} from ${number(values[0])} to ${number(values[values.length - 1])}, lowest ${number(lowest)}`;
  };
  const last = Math.max(...series.map(({ points }) => points[points.length - 1][0]));
  return `${title} over ${compact(last)} ${unit}: ${series.map(one).join('; ')}.`;
}

/** The value of the point that is nearest to `x`. */
function nearest(points, x) {
  let best = points[0];
  for (const point of points) if (Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
  return best;
}

/**
 * A chart as a figure. `series` are `{name, points: [[x, y]]}`; in a logarithmic chart, values that are not positive are
 * left out. Null when nothing is left.
 */
export function chart({ title, unit, series, smooth = 0, isLog = false }) {
  const shown = series
    .map(({ name, points }) => ({ name, points: isLog ? points.filter(([, y]) => y > 0) : points }))
    .filter(({ points }) => points.length > 0);
  if (shown.length === 0) return null;
  const raw = shown.map(({ name, points }) => ({ name, points: thinned(points) }));
  const lines = shown.map(({ name, points }) => ({ name, points: thinned(smoothed(points, smooth)) }));
  const at = scale(smooth > 0 && shown.length > 1 ? lines : raw, isLog);
  const cross = svg('line', { class: 'cross', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' });
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': told(title, unit, shown) },
    ...axes(at, isLog),
    // What was measured stays visible behind what was smoothed, unless there are many curves.
    ...(smooth > 0 && raw.length === 1 ? [svg('path', { class: 'raw series-0', d: path(raw[0].points, at) })] : []),
    ...lines.map(({ points }, place) => svg('path', { class: `line series-${place % 8}`, d: path(points, at) })),
    cross);
  const where = el('span', { class: 'quiet' });
  const values = lines.map(() => el('b', {}));
  const legend = el('ul', { class: 'legend' }, ...lines.map(({ name }, place) =>
    el('li', {}, el('i', { class: `series-${place % 8}` }), lines.length > 1 ? `${name} ` : '', values[place])));
  const tell = (x) => {
    lines.forEach(({ points }, place) => {
      values[place].textContent = number((x === null ? points[points.length - 1] : nearest(points, x))[1]);
    });
    where.textContent = x === null ? '' : `at ${compact(nearest(lines[0].points, x)[0])} ${unit}`;
    cross.setAttribute('visibility', x === null ? 'hidden' : 'visible');
  };
  drawing.addEventListener('pointermove', (event) => {
    const box = drawing.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    const x = at.begin + Math.min(1, Math.max(0, share)) * (at.end - at.begin);
    const place = at.x(nearest(lines[0].points, x)[0]);
    cross.setAttribute('x1', place);
    cross.setAttribute('x2', place);
    tell(x);
  });
  drawing.addEventListener('pointerleave', () => tell(null));
  tell(null);
  return el('figure', { class: 'panel chart' },
    el('figcaption', {}, el('b', { text: title }), where), drawing, legend);
}
