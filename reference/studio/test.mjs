// The studio in a real browser on a real server: `node test.mjs`. Exits with 1 when something is not as it must be.

import assert from 'node:assert/strict';
import * as browser from './browser.mjs';
import { checks as create } from './create.mjs';
import { checks as find } from './find.mjs';
import { checks as everywhere } from './everywhere.mjs';
import { checks as runs } from './runs.mjs';
import * as server from './server.mjs';
import { checks as trouble } from './trouble.mjs';

const folder = server.scratch();
const runsFolder = `${folder}/runs`;
const world = {
  step: server.running(runsFolder),
  args: ['--model', server.model(folder), '--state', `${folder}/state`, '--runs', runsFolder],
  folder,
  browser: await browser.open(),
};
world.server = await server.start(world.args);
world.tab = await browser.page(world.browser, world.server.address);

const only = process.argv[2] ?? '';
let failed = 0;
for (const [name, check] of [...create, ...find, ...runs, ...everywhere, ...trouble]) {
  if (!name.includes(only)) continue;
  const begin = performance.now();
  try {
    await check(world);
    assert.deepEqual(world.tab.mistakes, [], 'mistakes in the page');
    console.log(`ok      ${name} (${Math.round(performance.now() - begin)} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
    await browser.shoot(world.tab, `failed-${failed}`).catch(() => {});
    world.tab.mistakes = [];
    await world.tab.reload().catch(() => {});
  }
}
await world.browser.close();
await world.server.kill();
console.log(failed ? `${failed} failed` : 'all passed');
process.exit(failed ? 1 : 0);
