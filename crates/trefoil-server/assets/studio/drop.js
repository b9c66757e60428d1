// Pictures from outside: dropped, pasted or chosen.

import { byId } from './dom.js';

const KINDS = ['image/png', 'image/jpeg'];
const LARGEST = 14 << 20;

/** A file as bytes, or an error that says what is wrong with it. */
async function read(file) {
  if (!KINDS.includes(file.type)) throw new Error(`${file.name || 'This'} is no PNG or JPEG picture.`);
  if (file.size > LARGEST) throw new Error(`${file.name} is larger than ${LARGEST >> 20} MiB.`);
  // Looks before it is sent: what the browser cannot show, the server cannot read.
  await createImageBitmap(file).then((image) => image.close(), () => {
    throw new Error(`${file.name} is damaged: it cannot be shown.`);
  });
  return { bytes: new Uint8Array(await file.arrayBuffer()), kind: file.type, name: file.name };
}

/** Calls `onfile({bytes, kind, name})` for what comes, `onerror(message)` for what is none. */
export function start(view, onfile, onerror) {
  const take = (files) => {
    const file = [...(files ?? [])].find((one) => KINDS.includes(one.type)) ?? files?.[0];
    if (file) read(file).then(onfile).catch((error) => onerror(error.message));
  };
  const zone = byId('drop');
  const isFile = (event) => event.dataTransfer?.types.includes('Files');
  // All of the window: a file that misses the zone would replace the page.
  window.addEventListener('dragover', (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    zone.classList.add('is-over');
  });
  window.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) zone.classList.remove('is-over');
  });
  window.addEventListener('drop', (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    zone.classList.remove('is-over');
    if (!view.hidden) take(event.dataTransfer.files);
  });
  window.addEventListener('paste', (event) => {
    if (!view.hidden && event.clipboardData.files.length > 0) take(event.clipboardData.files);
  });
  const input = byId('file');
  input.addEventListener('change', () => {
    take(input.files);
    input.value = '';
  });
}
