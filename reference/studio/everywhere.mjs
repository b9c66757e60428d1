// Dark, small, and without a mouse.

import assert from 'node:assert/strict';
import { page, shoot } from './browser.mjs';
import { pictures } from './create.mjs';

const VIEWS = ['create', 'find', 'runs'];

async function isDark({ tab }) {
  await tab.emulateMedia({ colorScheme: 'dark' });
  const ground = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(ground, 'rgb(16, 20, 18)');
  for (const view of VIEWS) {
    await tab.click(`nav [data-view=${view}]`);
    await tab.waitForTimeout(900);
    await shoot(tab, `${view}-dark`);
  }
  await tab.emulateMedia({ colorScheme: 'light' });
}

async function isSmall({ tab }) {
  await tab.setViewportSize({ width: 360, height: 740 });
  for (const view of VIEWS) {
    await tab.click(`nav [data-view=${view}]`);
    await tab.waitForTimeout(700);
    const width = await tab.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, 360, view);
    const wide = await tab.evaluate(() => [...document.querySelectorAll('main *')]
      .filter((node) => node.checkVisibility() && !node.closest('pre, .sr') && node.getBoundingClientRect().right > 361)
      .map((node) => node.outerHTML.slice(0, 90)));
    assert.deepEqual(wide, [], view);
    await shoot(tab, `${view}-small`, { fullPage: view !== 'find' });
  }
  await tab.setViewportSize({ width: 1280, height: 860 });
}

/** Presses Tab until a node has the focus. */
async function tabTo(tab, selector) {
  for (let count = 0; count < 120; count += 1) {
    await tab.keyboard.press('Tab');
    if (await tab.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
      const outline = await tab.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, 'none', `${selector} shows that it has the focus`);
      return;
    }
  }
  assert.fail(`${selector} cannot be reached by Tab`);
}

async function byKeyboard({ browser, server }) {
  const tab = await page(browser, server.address);
  await tab.keyboard.press('Tab');
  assert.equal(await tab.evaluate(() => document.activeElement.className), 'skip');
  await tabTo(tab, '#prompt');
  await tab.keyboard.type('a star');
  await tabTo(tab, '#draw');
  await tab.keyboard.press('Space');
  await pictures(tab, 'a star').nth(3).waitFor();
  await tabTo(tab, '#gallery .picture');
  await tab.keyboard.press('Enter');
  await tab.locator('#viewer').getByText('Prompt').waitFor();
  await tab.keyboard.press('Escape');
  assert.ok(await tab.evaluate(() => document.activeElement.matches('#gallery .picture')), 'the focus comes back');

  await tab.evaluate(() => document.querySelector('.brand').scrollIntoView());
  await tab.focus('nav [data-view=create]');
  await tabTo(tab, 'nav [data-view=find]');
  await tab.keyboard.press('Enter');
  await tab.locator('#results .item').first().waitFor();
  await tab.keyboard.press('/');
  await tab.keyboard.type('dog');
  await tab.keyboard.press('Enter');
  await tab.locator('#results-title', { hasText: 'dog' }).waitFor();
  await tabTo(tab, '#results .choose');
  await tab.keyboard.press('Enter');
  await tab.locator('#feed .is-new').first().waitFor();
  assert.deepEqual(tab.mistakes, []);
  await tab.context().close();
}

/** Everything that can be used has a name that can be read out. */
async function hasNames({ tab }) {
  for (const view of VIEWS) {
    await tab.click(`nav [data-view=${view}]`);
    await tab.waitForTimeout(500);
    const nameless = await tab.evaluate(() => [...document.querySelectorAll('button, a, input, textarea, img, svg[role]')]
      .filter((node) => node.checkVisibility() && !node.closest('[aria-hidden]'))
      .filter((node) => !(node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.length || node.hasAttribute('alt')))
      .map((node) => node.outerHTML));
    assert.deepEqual(nameless, [], view);
  }
}

export const checks = [
  ['dark', isDark],
  ['360 pixels', isSmall],
  ['keyboard only', byKeyboard],
  ['everything has a name', hasNames],
];
