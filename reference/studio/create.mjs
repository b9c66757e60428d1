// The view that draws.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { shoot } from './browser.mjs';
import { root } from './server.mjs';

const apple = path.join(root, 'models/openmoji-32/examples/images/1F34E.png');

export const group = (tab, title) => tab.locator('#gallery article', { hasText: title }).first();
export const pictures = (tab, title) => group(tab, title).locator('.tile > .picture:not(.is-waiting) img');

/** Sets a slider as a person would see it set. */
export const slide = (tab, id, value) => tab.locator(id).evaluate((node, to) => {
  node.value = to;
  node.dispatchEvent(new Event('input', { bubbles: true }));
}, String(value));

export async function drop(tab, bytes, name) {
  const data = await tab.evaluateHandle(([values, file]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(values)], file, { type: 'image/png' }));
    return transfer;
  }, [[...bytes], name]);
  await tab.dispatchEvent('#drop', 'drop', { dataTransfer: data });
}

async function drawsWithPreview({ tab }) {
  await tab.fill('#prompt', 'a red apple');
  await tab.fill('#seed', '7');
  await slide(tab, '#steps', 100);
  await tab.press('#prompt', 'Enter');
  const mine = group(tab, 'a red apple');
  await mine.locator('.preview:not([hidden])').first().waitFor();
  assert.match(await mine.locator('.preview').first().getAttribute('src'), /^data:image\/png/);
  assert.match(await mine.textContent(), /step \d+ of 100/);
  await pictures(tab, 'a red apple').nth(3).waitFor();
  assert.equal(await pictures(tab, 'a red apple').count(), 4);
  assert.match(await mine.textContent(), /seed 7/);
  assert.match(await tab.textContent('#announcer'), /Ready: a red apple/);
  await tab.click('#reset');
  assert.equal(await tab.inputValue('#steps'), '25');
}

async function downloadsWithSettingsAndOpensAgain({ tab, folder }) {
  const [download] = await Promise.all([
    tab.waitForEvent('download'),
    group(tab, 'a red apple').locator('.download').nth(2).click({ force: true }),
  ]);
  assert.equal(download.suggestedFilename(), 'a-red-apple-7-2.png');
  const file = `${folder}/apple.png`;
  await download.saveAs(file);
  const bytes = fs.readFileSync(file);
  assert.ok(bytes.includes('"prompt":"a red apple"') && bytes.includes('Steps: 100'));
  await tab.fill('#prompt', 'something else');
  await drop(tab, bytes, 'apple.png');
  await tab.waitForFunction(() => document.getElementById('prompt').value === 'a red apple');
  assert.equal(await tab.inputValue('#seed'), '7');
  assert.equal(await tab.inputValue('#steps'), '100');
  await group(tab, 'apple.png').locator('.captions li').nth(2).waitFor();
  await tab.click('#reset');
}

async function describes({ tab }) {
  await tab.fill('#seed', '1');
  await drop(tab, fs.readFileSync(apple), 'unknown.png');
  const mine = group(tab, 'unknown.png');
  await mine.locator('.captions li').nth(2).waitFor();
  assert.match(await mine.locator('.captions').textContent(), /apple/);
  assert.match(await tab.textContent('#drop'), /carries no settings/);
  await drop(tab, Buffer.from('no picture'), 'broken.png');
  await tab.locator('#open-error:not([hidden])').waitFor();
  await tab.click('#seed-clear');
}

async function cancels({ tab }) {
  await tab.fill('#prompt', 'a blue car');
  await slide(tab, '#count', 8);
  await slide(tab, '#steps', 100);
  await tab.click('#draw');
  const mine = group(tab, 'a blue car');
  await mine.locator('.preview:not([hidden])').first().waitFor();
  await mine.getByRole('button', { name: 'Cancel' }).click();
  await mine.getByText('Cancelled.').waitFor();
  assert.equal(await pictures(tab, 'a blue car').count(), 0);
  await tab.click('#reset');
}

async function drawsAsOneTypes({ tab }) {
  await tab.click('#instant-field');
  assert.ok(await tab.isDisabled('#steps'));
  await tab.fill('#prompt', '');
  await tab.locator('#prompt').pressSequentially('a yellow sun', { delay: 30 });
  const shown = tab.locator('#live-tiles img').first();
  await shown.waitFor();
  await tab.waitForTimeout(600);
  const first = await shown.getAttribute('src');
  await tab.locator('#prompt').pressSequentially(' with a face', { delay: 30 });
  await tab.waitForFunction((old) => document.querySelector('#live-tiles img').src !== old, first);
  await tab.waitForTimeout(600);
  const last = await shown.getAttribute('src');
  await tab.click('#live-keep');
  await pictures(tab, 'a yellow sun with a face').first().waitFor();
  assert.equal(await pictures(tab, 'a yellow sun with a face').first().getAttribute('src'), last, 'what is kept is what was seen');
  await shoot(tab, 'create-instant');
  await tab.click('#instant-field');
  assert.ok(!(await tab.isVisible('#live')));
}

async function inventsAndVaries({ tab }) {
  await tab.click('#pairs');
  await pictures(tab, 'Invented').nth(3).waitFor();
  assert.equal(await group(tab, 'Invented').locator('.caption').count(), 4);
  await pictures(tab, 'a red apple').first().click();
  await tab.locator('#viewer').getByRole('button', { name: 'Variations' }).click();
  await pictures(tab, 'Variations of a red apple').nth(3).waitFor();
}

/** Pixels of a picture that the page shows, as grey values. */
const pixels = (locator) => locator.evaluate(async (image) => {
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const ink = canvas.getContext('2d');
  ink.drawImage(image, 0, 0);
  return [...ink.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, place) => place % 4 === 0);
});

async function changes({ tab }) {
  const original = await pixels(pictures(tab, 'a red apple').first());
  await pictures(tab, 'a red apple').first().click();
  await tab.locator('#viewer').getByRole('button', { name: 'Change' }).click();
  const dialog = tab.locator('#edit');
  assert.equal(await tab.inputValue('#edit-prompt'), 'a red apple');
  assert.equal(await tab.inputValue('#strength'), '0.7');
  const canvas = dialog.locator('canvas');
  const box = await canvas.boundingBox();
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  const stroke = async (...points) => {
    await tab.mouse.move(...at(...points[0]));
    await tab.mouse.down();
    for (const point of points.slice(1)) await tab.mouse.move(...at(...point), { steps: 4 });
    await tab.mouse.up();
  };
  // The upper left, then something that is taken back, and something that is erased.
  await stroke([0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]);
  assert.equal(await tab.inputValue('#strength'), '1');
  await stroke([0.8, 0.8], [0.9, 0.9]);
  await dialog.getByRole('button', { name: 'Undo' }).click();
  await stroke([0.8, 0.2], [0.9, 0.2]);
  await dialog.locator('#eraser').click();
  await slide(tab, '#brush-size', 50);
  await stroke([0.85, 0.1], [0.85, 0.3]);
  await shoot(tab, 'create-change');
  await tab.fill('#edit-prompt', 'a blue star');
  await dialog.getByRole('button', { name: 'Draw' }).click();
  await pictures(tab, 'a blue star (changed)').nth(3).waitFor();
  const changed = await pixels(pictures(tab, 'a blue star (changed)').first());
  const side = Math.sqrt(original.length);
  const differ = (isMine) => original.filter((value, place) =>
    isMine(place % side / side, Math.floor(place / side) / side) && value !== changed[place]).length;
  assert.equal(differ((x, y) => x >= 0.6 || y >= 0.6), 0, 'what was not painted over is as it was');
  assert.ok(differ((x, y) => x < 0.5 && y < 0.5) > 20, 'what was painted over is another');

  // With the keyboard: a line to the right.
  await pictures(tab, 'a red apple').first().click();
  await tab.locator('#viewer').getByRole('button', { name: 'Change' }).click();
  await canvas.focus();
  for (const key of ['Space', ...Array(6).fill('ArrowRight'), 'Space']) await tab.keyboard.press(key);
  assert.equal(await tab.inputValue('#strength'), '1');
  assert.match(await tab.textContent('#announcer'), /brush is up/);
  await dialog.getByRole('button', { name: 'Clear' }).click();
  assert.equal(await tab.inputValue('#strength'), '0.7');
  await tab.fill('#edit-prompt', '');
  await dialog.getByRole('button', { name: 'Draw' }).click();
  await dialog.getByText('Say what the picture is to show.').waitFor();
  await tab.keyboard.press('Escape');
}

async function blends({ tab }) {
  const choose = async (title, action) => {
    await pictures(tab, title).first().click();
    await tab.locator('#viewer').getByRole('button', { name: action }).click();
  };
  await choose('a red apple', 'Blend: first');
  await choose('a yellow sun', 'Blend: second');
  await tab.waitForFunction(() => !document.getElementById('blend').disabled);
  const frame = () => tab.locator('#blend-result img').getAttribute('src');
  const middle = await frame();
  await slide(tab, '#blend', 0);
  const begin = await frame();
  await tab.focus('#blend');
  await tab.keyboard.press('End');
  const end = await frame();
  assert.equal(new Set([begin, middle, end]).size, 3);
  assert.match(await tab.getAttribute('#blend', 'aria-valuetext'), /^100 %/);
  await slide(tab, '#blend', 4);
}

async function keepsItsState({ tab }) {
  await tab.fill('#prompt', 'a green tree');
  const before = await tab.locator('#gallery article').count();
  await tab.reload();
  await pictures(tab, 'a red apple').nth(3).waitFor();
  await tab.waitForFunction(() => !document.getElementById('blend').disabled);
  await tab.waitForFunction(() => !document.querySelector('#gallery [aria-busy]'));
  assert.equal(await tab.inputValue('#prompt'), 'a green tree');
  assert.equal(await tab.locator('#gallery article').count(), before - 1, 'all but the one that was cancelled');
  await tab.evaluate(() => scrollTo(0, 0));
  await shoot(tab, 'create-light');
}

export const checks = [
  ['draws with preview and progress', drawsWithPreview],
  ['downloads with settings and opens again', downloadsWithSettingsAndOpensAgain],
  ['describes a picture', describes],
  ['cancels', cancels],
  ['draws as one types', drawsAsOneTypes],
  ['changes what is painted over', changes],
  ['invents pairs and varies', inventsAndVaries],
  ['blends', blends],
  ['a reload keeps what was there', keepsItsState],
];
