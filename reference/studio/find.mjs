// The view that finds.

import assert from 'node:assert/strict';
import { shoot } from './browser.mjs';

const titles = (tab, list) => tab.locator(`${list} .title`).allTextContents();

async function searches({ tab }) {
  await tab.click('nav [data-view=find]');
  await tab.locator('#results .item').nth(47).waitFor();
  assert.match(await tab.textContent('#results-note'), /846 items/);
  await tab.click('#more');
  await tab.locator('#results .item').nth(95).waitFor();
  await tab.keyboard.press('/');
  await tab.keyboard.type('guitar');
  await tab.locator('#results-title', { hasText: 'guitar' }).waitFor();
  assert.equal((await titles(tab, '#results'))[0], 'guitar');
  await tab.waitForFunction(() => document.querySelector('#results img').naturalWidth === 32);
}

async function explains({ tab }) {
  const dialog = tab.locator('#why');
  // A word that only titles have: the text placed the item, and the model says what it thinks of it.
  await tab.getByRole('button', { name: 'Why guitar?' }).first().click();
  await dialog.getByText('words of the query that the model does not know').waitFor();
  await dialog.getByText('Inherent').waitFor();
  await tab.keyboard.press('Escape');
  await tab.fill('#query', 'music');
  await tab.locator('#results-title', { hasText: 'music' }).waitFor();
  await tab.locator('#results .ask').first().click();
  await dialog.getByText('Inherent').waitFor();
  await dialog.getByText('Demand', { exact: true }).waitFor();
  await dialog.getByText('Words nearest to the query').waitFor();
  await dialog.getByText('Like it').waitFor();
  assert.ok(await dialog.locator('.item').count() > 0);
  await shoot(tab, 'find-why');
  await tab.keyboard.press('Escape');
  assert.ok(!(await dialog.isVisible()));
  await tab.fill('#query', 'guitar');
  await tab.locator('#results-title', { hasText: 'guitar' }).waitFor();
}

async function followsClicks({ tab }) {
  await tab.locator('#feed .item').nth(11).waitFor();
  const stranger = await titles(tab, '#feed');
  await tab.locator('#results .choose').first().click();
  await tab.locator('#feed .is-new').first().waitFor();
  const one = await titles(tab, '#feed');
  assert.notDeepEqual(one, stranger);
  assert.match(await tab.textContent('#chosen'), /You chose guitar/);
  const second = await tab.locator('#feed .title').first().textContent();
  await tab.locator('#feed .choose').first().click();
  await tab.locator('#chosen', { hasText: `You chose ${second}, guitar` }).waitFor();
  // What was chosen leaves the feed, as soon as its answer is there.
  await tab.waitForFunction(
    (title) => [...document.querySelectorAll('#feed .title')].every((one) => one.textContent !== title), second);
  assert.notDeepEqual(await titles(tab, '#feed'), one);
  await tab.locator('#feed .ask').first().click();
  await tab.locator('#why').getByText('What you did before').waitFor();
  await tab.keyboard.press('Escape');
}

async function drawsWhatIsMissing({ tab, server }) {
  await tab.fill('#query', 'zorblax');
  await tab.locator('#wish').getByText('Nothing in the catalogue fits').waitFor();
  await tab.getByRole('button', { name: 'Draw “zorblax”' }).click();
  await tab.getByRole('button', { name: 'Put drawing 1' }).waitFor();
  await shoot(tab, 'find-wish');
  await tab.keyboard.press('Enter');
  const found = tab.locator('#results .item', { hasText: 'zorblax' });
  await found.waitFor();
  assert.match(await tab.textContent('#announcer'), /is in the catalogue, as number 1 .* described as: \w+/);
  await tab.waitForFunction(() => document.querySelector('#results .item img').naturalWidth === 32);
  const { hits } = await server.post('v1/search', { query: 'zorblax', k: 1 });
  assert.equal(hits[0].title, 'zorblax');
  await tab.reload();
  await found.waitFor();
  assert.equal(await tab.inputValue('#query'), 'zorblax');
  assert.match(await tab.textContent('#chosen'), /guitar/, 'a reload keeps who one is');
}

async function forgets({ tab }) {
  await tab.fill('#query', 'music');
  await tab.locator('#results-title', { hasText: 'music' }).waitFor();
  await tab.waitForTimeout(500);
  await shoot(tab, 'find-light');
  await tab.click('#forget');
  await tab.locator('#feed-note', { hasText: 'most people' }).waitFor();
  assert.match(await tab.textContent('#chosen'), /the feed follows/);
}

async function isSafe({ tab, server }) {
  const bad = '<img src=x onerror=document.title=1>';
  await server.post('v1/items', { items: [{ id: 'bad"><b', title: bad, caption: bad, tags: ['drawn'] }] });
  await tab.fill('#query', 'onerror');
  await tab.locator('#results .title', { hasText: bad }).waitFor();
  await tab.locator('#results .ask').first().click();
  await tab.locator('#why-title', { hasText: bad }).waitFor();
  await tab.keyboard.press('Escape');
  assert.notEqual(await tab.title(), '1');
  assert.equal(await tab.locator('#results img[src=x]').count(), 0);
  await tab.fill('#query', 'music');
}

export const checks = [
  ['searches the catalogue', searches],
  ['explains', explains],
  ['the feed follows each click', followsClicks],
  ['draws what is missing, and finds it', drawsWhatIsMissing],
  ['forgets', forgets],
  ['texts of others are only texts', isSafe],
];
