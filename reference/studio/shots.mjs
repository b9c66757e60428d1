// Pictures of the studio for the documentation: `node shots.mjs FOLDER`, then `pngquant` or a palette of Pillow.

import { open, page, shoot } from './browser.mjs';
import { pictures } from './create.mjs';
import * as server from './server.mjs';

const folder = server.scratch();
const step = server.running(`${folder}/runs`);
const started = await server.start([
  '--model', server.model(folder), '--state', `${folder}/state`, '--runs', `${folder}/runs`,
]);
const browser = await open();
const tab = await page(browser, started.address, { viewport: { width: 1200, height: 800 }, deviceScaleFactor: 1 });

for (const [prompt, seed] of [['flag: Italy', 3], ['sunflower', 5], ['cat face', 7]]) {
  await tab.fill('#prompt', prompt);
  await tab.fill('#seed', String(seed));
  await tab.click('#draw');
  await pictures(tab, prompt).nth(3).waitFor();
}
for (const [title, action] of [['cat face', 'Blend: first'], ['sunflower', 'Blend: second']]) {
  await pictures(tab, title).first().click();
  await tab.locator('#viewer').getByRole('button', { name: action }).click();
}
await tab.waitForFunction(() => !document.getElementById('blend').disabled);
await tab.evaluate(() => scrollTo(0, 0));
await shoot(tab, 'studio-create');

await tab.click('nav [data-view=find]');
await tab.fill('#query', 'music');
await tab.locator('#results-title', { hasText: 'music' }).waitFor();
for (const title of ['guitar', 'drum']) {
  await tab.locator('#results .choose', { hasText: title }).first().click();
  await tab.locator('#chosen', { hasText: title }).waitFor();
}
await tab.waitForTimeout(800);
await tab.evaluate(() => document.activeElement.blur());
await shoot(tab, 'studio-find');

await tab.emulateMedia({ colorScheme: 'dark' });
[1, 2, 3, 4].forEach(step);
await tab.click('nav [data-view=runs]');
await tab.locator('.chart').nth(5).waitFor();
await tab.waitForTimeout(2500);
await shoot(tab, 'studio-runs');
await browser.close();
await started.kill();
process.exit(0);
