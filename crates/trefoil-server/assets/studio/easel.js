// A mask that is painted on a picture, with a pointer or with the keyboard.

import { announce, el, svg } from './dom.js';

/** Side of the painting at least, in its own pixels: a small picture has a fine mask too. */
const SIDE = 256;
/** Strokes that can be taken back. */
const MOST_STROKES = 20;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * A place to paint on `picture`. `brush()` tells `{size, isEraser}`, the size as a share of the width; `onchange()` is
 * called after each stroke. The result has the `node`, `undo()`, `clear()`, and `mask()`: a PNG as a data URL, white
 * where it was painted, or null where nothing was.
 */
export function easel(picture, { brush, onchange }) {
  const image = el('img', { src: picture.src, alt: picture.title || 'the picture' });
  const canvas = el('canvas', {
    tabindex: 0, role: 'application',
    'aria-label': 'What is made anew. Arrow keys move the brush, Space puts it down and lifts it.',
  });
  const ring = svg('circle', { class: 'brush', cx: 50, cy: 50, r: 0 });
  const cursor = svg('svg', { 'aria-hidden': 'true', preserveAspectRatio: 'none' }, ring);
  const paint = canvas.getContext('2d', { willReadFrequently: true });
  const strokes = [];
  let at = null;
  let isDown = false;

  const size = () => brush().size * canvas.width;

  function showBrush() {
    ring.setAttribute('cx', at[0]);
    ring.setAttribute('cy', at[1]);
    ring.setAttribute('r', size() / 2);
    ring.classList.toggle('is-down', isDown);
  }

  function begin() {
    strokes.push(paint.getImageData(0, 0, canvas.width, canvas.height));
    if (strokes.length > MOST_STROKES) strokes.shift();
    isDown = true;
  }

  /** Moves the brush, and paints on the way if it is down. */
  function move(to) {
    const from = at ?? to;
    at = to.map((value, axis) => Math.min(Math.max(value, 0), axis === 0 ? canvas.width : canvas.height));
    if (isDown) {
      paint.globalCompositeOperation = brush().isEraser ? 'destination-out' : 'source-over';
      paint.strokeStyle = getComputedStyle(canvas).color;
      paint.lineCap = 'round';
      paint.lineWidth = size();
      paint.beginPath();
      paint.moveTo(...from);
      paint.lineTo(...at);
      paint.stroke();
    }
    showBrush();
  }

  function end() {
    if (!isDown) return;
    isDown = false;
    showBrush();
    onchange();
  }

  const place = ({ offsetX, offsetY }) =>
    [offsetX * canvas.width / canvas.clientWidth, offsetY * canvas.height / canvas.clientHeight];

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    end();
    at = place(event);
    begin();
    move(at);
  });
  canvas.addEventListener('pointermove', (event) => {
    // With the keyboard's brush on the picture, only a pointer that presses moves it.
    if (event.buttons !== 0 || !isDown) move(place(event));
  });
  canvas.addEventListener('pointerup', end);
  canvas.addEventListener('pointercancel', end);
  canvas.addEventListener('blur', end);
  canvas.addEventListener('keydown', (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = canvas.width / 32;
      move(at.map((value, axis) => value + step * arrow[axis]));
    } else if (event.key === ' ') {
      if (isDown) end();
      else {
        begin();
        move(at);
      }
      announce(isDown ? 'The brush is down.' : 'The brush is up.');
    } else {
      return;
    }
    event.preventDefault();
  });

  image.addEventListener('load', () => {
    const scale = Math.max(1, Math.ceil(SIDE / Math.min(image.naturalWidth, image.naturalHeight)));
    canvas.width = image.naturalWidth * scale;
    canvas.height = image.naturalHeight * scale;
    cursor.setAttribute('viewBox', `0 0 ${canvas.width} ${canvas.height}`);
    at = [canvas.width / 2, canvas.height / 2];
    showBrush();
  }, { once: true });

  const isPainted = () => {
    const { data } = paint.getImageData(0, 0, canvas.width, canvas.height);
    for (let alpha = 3; alpha < data.length; alpha += 4) if (data[alpha] > 127) return true;
    return false;
  };

  return {
    node: el('div', { class: 'easel' }, image, canvas, cursor),
    undo() {
      if (strokes.length > 0) paint.putImageData(strokes.pop(), 0, 0);
      onchange();
    },
    clear() {
      begin();
      paint.clearRect(0, 0, canvas.width, canvas.height);
      end();
    },
    resize: () => at && showBrush(),
    mask() {
      if (!isPainted()) return null;
      const { width, height } = canvas;
      const copy = el('canvas', { width, height });
      const ink = copy.getContext('2d');
      ink.drawImage(canvas, 0, 0);
      ink.globalCompositeOperation = 'source-in';
      ink.fillStyle = '#fff';
      ink.fillRect(0, 0, width, height);
      ink.globalCompositeOperation = 'destination-over';
      ink.fillStyle = '#000';
      ink.fillRect(0, 0, width, height);
      return copy.toDataURL('image/png');
    },
  };
}
