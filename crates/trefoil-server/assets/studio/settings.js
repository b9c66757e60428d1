// The settings of a picture: as its file has them, as the form has them, and as people read them.

import { number } from './dom.js';
import { texts } from './png.js';

/** What a PNG file says of how it was made, null if it says nothing. */
export function ofPng(bytes) {
  const found = texts(bytes);
  try {
    if (found.has('trefoil')) return ofRecord(JSON.parse(found.get('trefoil')));
  } catch {
    // Damaged: the other text may be whole.
  }
  return found.has('parameters') ? ofParameters(found.get('parameters')) : null;
}

function ofRecord(record) {
  const { settings = {}, model = {} } = record;
  return {
    mode: record.mode,
    prompt: record.prompt ?? '',
    negative: record.negative ?? '',
    caption: record.text ?? '',
    seed: record.seed,
    index: record.index ?? 0,
    steps: settings.steps,
    guidance: settings.guidance,
    oneStep: settings.one_step ?? false,
    weight: record.weight ?? null,
    model: model.name ?? '',
  };
}

/** The form of the web UI of AUTOMATIC1111, which many programs write. */
function ofParameters(text) {
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  const value = (name) => new RegExp(`(?:^|, )${name}: ([^,]+)`).exec(last)?.[1];
  if (value('Steps') === undefined) return null;
  const negative = lines.findIndex((line) => line.startsWith('Negative prompt: '));
  return {
    mode: 'text-to-image',
    prompt: lines.slice(0, negative < 0 ? undefined : negative).join('\n'),
    negative: negative < 0 ? '' : lines[negative].slice('Negative prompt: '.length),
    caption: '',
    seed: Number(value('Seed')),
    index: Number(value('Index') ?? 0),
    steps: Number(value('Steps')),
    guidance: Number(value('CFG scale')),
    oneStep: false,
    weight: null,
    model: value('Model') ?? '',
  };
}

/** Rows of a table: name and value. */
export function described(settings) {
  const rows = [
    ['Prompt', settings.prompt],
    ['Caption', settings.caption],
    ['Avoided', settings.negative],
    ['Seed', `${settings.seed}, picture ${settings.index + 1}`],
    ['Steps', settings.oneStep ? 'one' : String(settings.steps)],
    ['Guidance', settings.oneStep || settings.mode === 'image-to-text' ? '' : number(settings.guidance)],
    ['Blend', settings.weight === null ? '' : `${Math.round(settings.weight * 100)} % of the second`],
    ['Model', settings.model],
  ];
  return rows.filter(([, value]) => value);
}

/** A name for the file of a picture. */
export function fileName(settings) {
  const words = (settings?.prompt || settings?.caption || 'picture').toLowerCase();
  const plain = words.replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 40) || 'picture';
  return settings ? `${plain}-${settings.seed}-${settings.index}.png` : `${plain}.png`;
}
