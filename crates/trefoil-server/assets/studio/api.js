// Requests to the server. Those that meet no server, a full queue or a missing token wait and try again.

import { back } from './connection.js';
import { sleep } from './dom.js';
import { askForToken, token } from './token.js';

/** Attempts at something that the server refuses for the moment. */
const PATIENCE = 30;
/** Longest silence of a stream, in milliseconds: the server sends a sign of life every ten seconds. */
const SILENCE = 25_000;

/** What the server says went wrong. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered with ${status}.`);
    this.status = status;
    this.code = error?.code;
    this.field = error?.param;
  }
}

function headers(body) {
  const secret = token();
  return {
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...(secret ? { Authorization: `Bearer ${secret}` } : {}),
  };
}

/**
 * The response to a request, when there is one. `onwait(seconds, message)` hears of a full queue. A request that the
 * server took while its answer was lost is sent again: events have ids for this, and a picture is drawn twice at worst.
 */
export async function respond(method, path, { body, signal, onwait } = {}) {
  const content = body === undefined ? undefined : JSON.stringify(body);
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, { method, headers: headers(content), body: content, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      await back(signal);
      continue;
    }
    if (response.ok) return response;
    const error = (await response.json().catch(() => null))?.error;
    const refused = new Refused(response.status, error);
    if (attempt >= PATIENCE) throw refused;
    if (response.status === 401) {
      await askForToken();
    } else if (response.status === 429) {
      const seconds = Number(response.headers.get('Retry-After')) || 1;
      if (refused.code === 'queue_full') onwait?.(seconds, refused.message);
      await sleep(seconds * 1000, signal);
    } else if (response.status === 503) {
      await back(signal);
      await sleep(500, signal);
    } else {
      throw refused;
    }
  }
}

/** The JSON of an answer, null where there is none. */
export async function ask(method, path, options) {
  const response = await respond(method, path, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => ask('GET', path, options);
export const post = (path, body, options) => ask('POST', path, { ...options, body });

/**
 * Reads server-sent events until their end, by `fetch`: an `EventSource` has no place for a token.
 * `onevent(name, data)` gets each. Throws when the connection breaks.
 */
export async function listen(path, onevent, signal) {
  const broken = new AbortController();
  const stop = () => broken.abort(signal.reason);
  signal?.addEventListener('abort', stop, { once: true });
  const response = await respond('GET', path, { signal: broken.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const timer = setTimeout(() => broken.abort(), SILENCE);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const fields = new Map();
      for (const line of text.slice(0, end).split('\n')) {
        const [, name, content] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) fields.set(name, (fields.get(name) ?? '') + content);
      }
      if (fields.has('data')) onevent(fields.get('event'), JSON.parse(fields.get('data')));
    }
  }
}
