// A server for the test: a model with a one-step generator, a folder of runs, a fresh state.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../..');
const program = process.env.TREFOIL ?? path.join(root, 'target/release/trefoil');
const shipped = path.join(root, 'models/openmoji-32');

/** A folder that goes with the process. */
export function scratch() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'trefoil-studio-'));
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The shipped model; if it has no one-step generator, its own network stands in for one. */
export function model(folder) {
  const copy = path.join(folder, 'openmoji-32');
  fs.mkdirSync(copy);
  for (const name of fs.readdirSync(shipped)) fs.symlinkSync(path.join(shipped, name), path.join(copy, name));
  if (!fs.existsSync(path.join(copy, 'one_step'))) {
    fs.mkdirSync(path.join(copy, 'one_step'));
    fs.symlinkSync(path.join(shipped, 'unet'), path.join(copy, 'one_step/unet'));
    const about = { level: 5, tasks: ['text-to-image', 'image-to-text', 'joint'] };
    fs.writeFileSync(path.join(copy, 'one_step/one_step.json'), JSON.stringify(about));
  }
  return copy;
}

/** A run that is under way: the log of the shipped model, of which `step` writes another part. */
export function running(folder) {
  const run = path.join(folder, 'openmoji-32/unidiffuser');
  fs.mkdirSync(path.join(run, 'samples'), { recursive: true });
  fs.copyFileSync(path.join(shipped, 'recipe.toml'), path.join(run, 'config.toml'));
  const lines = fs.readFileSync(path.join(shipped, 'training/unidiffuser.jsonl'), 'utf8').trim().split('\n');
  const size = Math.ceil(lines.length / 5);
  let done = 0;
  const step = () => {
    fs.appendFileSync(path.join(run, 'metrics.jsonl'), `${lines.slice(done, done + size).join('\n')}\n`);
    done += size;
    const at = String(done * 1000).padStart(9, '0');
    const sheet = done > size ? 'training/pictures.png' : 'evaluation/train-pictures.png';
    fs.copyFileSync(path.join(shipped, sheet), path.join(run, `samples/pictures-${at}.png`));
  };
  step();
  return step;
}

/** Starts a server, and waits until it is ready. `tokens` are lines for `TREFOIL_TOKENS`. */
export async function start(args, { port = 0, tokens = '' } = {}) {
  const env = { ...process.env, RUST_LOG: 'warn', ...(tokens ? { TREFOIL_TOKENS: tokens } : {}) };
  const child = spawn(program, ['serve', '--bind', `127.0.0.1:${port}`, ...args], { cwd: root, env });
  let said = '';
  child.stderr.on('data', (data) => { said += data; });
  const address = await new Promise((resolve, reject) => {
    child.stdout.once('data', (data) => resolve(String(data).trim()));
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
    child.once('error', reject);
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.on('exit', () => child.kill('SIGKILL'));
  return {
    address,
    port: Number(new URL(address).port),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async post(where, body, token) {
      const response = await fetch(`${address}/${where}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) },
        body: JSON.stringify(body),
      });
      if (!response.ok) throw new Error(`${where}: ${await response.text()}`);
      return response.json();
    },
  };
}
