// The view of trainings.

import assert from 'node:assert/strict';
import { shoot } from './browser.mjs';
import { slide } from './create.mjs';

async function showsRuns({ tab, step }) {
  // A line of this minute, however long the checks before took.
  step();
  await tab.click('nav [data-view=runs]');
  const loss = tab.locator('.chart').filter({ has: tab.locator('b', { hasText: /^loss$/ }) });
  await loss.waitFor();
  assert.match(await loss.locator('svg').getAttribute('aria-label'), /^loss over .* samples: loss from 0\.4201 to/);
  assert.match(await tab.textContent('#run-config'), /\[unidiffuser/);
  assert.ok(await tab.isVisible('#run-live'));
  await tab.waitForFunction(() => document.querySelector('#samples img').naturalWidth > 0);
  const first = await tab.textContent('#run-latest');

  // While it runs: other numbers, a longer curve, another picture.
  step();
  await tab.waitForFunction((old) => document.getElementById('run-latest').textContent !== old, first);
  await tab.locator('#samples input[type=range]').waitFor();
  const last = await tab.locator('#samples output').textContent();
  await slide(tab, '#samples input[type=range]', 0);
  assert.notEqual(await tab.locator('#samples output').textContent(), last);
  step();
  step();
  await tab.click('label:has(#log)');
  await slide(tab, '#smooth', 0.9);
  await tab.waitForTimeout(2600);
  await loss.locator('svg').hover();
  assert.match(await loss.locator('figcaption').textContent(), /at .* samples/);
  await tab.evaluate(() => scrollTo(0, 0));
  await shoot(tab, 'runs-light');
  await shoot(tab, 'runs-whole', { fullPage: true });
  await tab.reload();
  await loss.waitFor();
  assert.ok(await tab.isChecked('#log'));
}

export const checks = [['shows runs while they run', showsRuns]];
