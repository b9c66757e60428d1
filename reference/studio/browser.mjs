// Chromium, and pages whose mistakes fail the test.

import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { root } from './server.mjs';

const shots = process.env.SHOTS ?? path.join(root, 'target/studio');
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** With `FILES=disk`, files come from the repository in the place of those in the program: no build after a change. */
const isFromDisk = process.env.FILES === 'disk';
const KINDS = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };

export async function open() {
  fs.mkdirSync(shots, { recursive: true });
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

async function serveFromDisk(context) {
  const folder = path.join(root, 'crates/trefoil-server/assets/studio');
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'";
  await context.route(({ pathname }) => pathname === '/' || pathname.startsWith('/studio/'), async (route) => {
    const name = path.basename(new URL(route.request().url()).pathname) || 'index.html';
    const headers = { 'Content-Type': KINDS[name.split('.')[1]], 'Content-Security-Policy': policy };
    await route.fulfill({ body: fs.readFileSync(path.join(folder, name)), headers });
  });
}

/**
 * A page in a context of its own. `page.mistakes` has what went wrong in it; a server that is not there, or that
 * refuses, is none.
 */
export async function page(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...options });
  if (isFromDisk) await serveFromDisk(context);
  const tab = await context.newPage();
  tab.setDefaultTimeout(90_000);
  tab.mistakes = [];
  tab.on('pageerror', (error) => tab.mistakes.push(String(error.stack)));
  tab.on('console', (message) => {
    const isNetwork = /Failed to load resource|ERR_/.test(message.text());
    if (['error', 'warning'].includes(message.type()) && !isNetwork) tab.mistakes.push(message.text());
  });
  tab.on('request', (request) => {
    const isOwn = request.url().startsWith(address) || /^(data|blob):/.test(request.url());
    if (!isOwn) tab.mistakes.push(`asked ${request.url()}`);
  });
  await tab.goto(address);
  return tab;
}

/** Saves what a page shows. */
export const shoot = (tab, name, options = {}) => tab.screenshot({ path: path.join(shots, `${name}.png`), ...options });
