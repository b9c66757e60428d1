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
  await drop(tab, fs.readFileSync(apple), 'unknown.png');
  const mine = group(tab, 'unknown.png');
  await mine.locator('.captions li').nth(2).waitFor();
  assert.match(await mine.locator('.captions').textContent(), /apple/);
  assert.match(await tab.textContent('#drop'), /carries no settings/);
  await drop(tab, Buffer.from('no picture'), 'broken.png');
  await tab.locator('#open-error:not([hidden])').waitFor();
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
  ['invents pairs and varies', inventsAndVaries],
  ['blends', blends],
  ['a reload keeps what was there', keepsItsState],
];
