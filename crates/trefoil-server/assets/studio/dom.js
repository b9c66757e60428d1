// Elements from plain values. Texts go in as text and never as HTML, so nothing that a model, a catalogue or a run
// says can become a part of the page.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'text') node.textContent = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; `text` is its text, `onclick` and the like are listeners, everything else is an attribute. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Says something to those who do not see it happen. */
export function announce(text) {
  const region = byId('announcer');
  // The same text twice is no change, and would not be read.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** Shows a message in a place for one, or hides the place. */
export function say(place, message, ...more) {
  place.hidden = !message;
  place.replaceChildren(...(message ? [message, ...more] : []));
}

/** Calls the last of several calls, when there was none for `delay` milliseconds. */
export function debounce(call, delay) {
  let timer = 0;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), delay);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

export const sleep = (milliseconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener('abort', () => {
    clearTimeout(timer);
    reject(signal.reason);
  }, { once: true });
});

/** A number as people read it. */
export function number(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return Number(value.toPrecision(3)).toExponential();
  return value.toLocaleString('en', { maximumSignificantDigits: size >= 1000 ? 7 : 4 });
}
