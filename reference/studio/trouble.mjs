// A server that goes away, is full, or wants a token.

import assert from 'node:assert/strict';
import { page, shoot } from './browser.mjs';
import { group, pictures, slide } from './create.mjs';
import * as server from './server.mjs';

async function survivesRestart(world) {
  const { tab } = world;
  await tab.click('nav [data-view=create]');
  await tab.fill('#prompt', 'a house');
  await slide(tab, '#count', 8);
  await slide(tab, '#steps', 100);
  await tab.click('#draw');
  await group(tab, 'a house').locator('.preview:not([hidden])').first().waitFor();
  await world.server.kill();
  await tab.locator('#banner', { hasText: 'The server is away' }).waitFor();
  await shoot(tab, 'server-away');
  await tab.click('nav [data-view=find]');
  await tab.fill('#query', 'cat');
  world.server = await server.start(world.args, { port: world.server.port });
  await tab.locator('#banner', { hasText: 'The server is back' }).waitFor();
  await tab.locator('#results-title', { hasText: 'cat' }).waitFor();
  await tab.click('nav [data-view=create]');
  await pictures(tab, 'a house').nth(7).waitFor();
  await tab.locator('#banner').waitFor({ state: 'hidden' });
  await tab.click('#reset');
}

const SECRET = 'secret-of-the-reader-0123456789';

async function wantsToken({ browser, folder, args }) {
  const closed = await server.start(
    [...args.slice(0, 2), '--state', `${folder}/closed`, '--queue', '1', '--batch', '1'],
    { tokens: `reader read ${SECRET}` },
  );
  const tab = await page(browser, closed.address);
  const dialog = tab.locator('#token');
  await dialog.getByText('asks for a token').waitFor();
  await tab.fill('#token-input', 'a wrong one');
  await tab.keyboard.press('Enter');
  await dialog.getByText('does not know this token').waitFor();
  await shoot(tab, 'token');
  await tab.fill('#token-input', SECRET);
  await tab.keyboard.press('Enter');
  await tab.locator('#model', { hasText: 'openmoji-32' }).waitFor();
  assert.equal(await tab.evaluate(() => JSON.stringify(localStorage).includes('secret')), false);

  // What the token may not do is said.
  await tab.click('nav [data-view=find]');
  await tab.locator('#feed .choose').first().click();
  await tab.locator('#find-error', { hasText: 'may read, not write' }).waitFor();
  // Pictures come with the token.
  await tab.waitForFunction(() => document.querySelector('#feed img').naturalWidth === 32);
  await tab.click('nav [data-view=runs]');
  await tab.locator('#runs-error', { hasText: '--runs DIR' }).waitFor();

  // One runs, one waits: the third finds the queue full, and goes on by itself.
  const slow = { prompt: 'x', n: 8, steps: 250 };
  const others = [0, 1].map(() => closed.post('v1/jobs', { task: 'generations', request: slow }, SECRET));
  const ids = (await Promise.all(others)).map(({ id }) => id);
  await tab.click('nav [data-view=create]');
  await tab.fill('#prompt', 'a bell');
  await tab.click('#draw');
  await group(tab, 'a bell').getByText('The queue of the server is full').waitFor();
  await shoot(tab, 'queue-full');
  for (const id of ids) await closed.post(`v1/jobs/${id}/cancel`, {}, SECRET);
  await pictures(tab, 'a bell').nth(3).waitFor();
  assert.deepEqual(tab.mistakes, []);
  await tab.context().close();
  await closed.kill();
}

async function missesModels({ browser, server: { address } }) {
  const tab = await page(browser, address);
  await tab.context().route('**/v1/models', async (route) => {
    const answer = await (await route.fetch()).json();
    const data = answer.data.filter(({ id }) => id === 'unidiffuser');
    await route.fulfill({ json: { ...answer, data } });
  });
  await tab.reload();
  await tab.locator('#model', { hasText: 'openmoji-32' }).waitFor();
  assert.ok(!(await tab.isVisible('#instant-field')), 'no one-step generator, no switch for it');
  await tab.click('nav [data-view=find]');
  await tab.locator('#find-error', { hasText: 'no recommender' }).waitFor();
  assert.ok(!(await tab.isVisible('#query')));
  await tab.context().close();
}

export const checks = [
  ['the server is killed and started again meanwhile', survivesRestart],
  ['a token, a full queue, no runs', wantsToken],
  ['models that are missing', missesModels],
];
