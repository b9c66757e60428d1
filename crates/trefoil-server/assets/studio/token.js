// The secret that the server asks for. It is kept for this tab only.

import { byId, say } from './dom.js';

const KEY = 'trefoil-token';
let asking = null;

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

/** Asks for a token, once for everybody who waits; resolves when one was given, rejects when not. */
export function askForToken() {
  asking ??= ask().finally(() => { asking = null; });
  return asking;
}

function ask() {
  const dialog = byId('token');
  const input = byId('token-input');
  byId('token-button').hidden = false;
  say(byId('token-note'), token() ? 'The server does not know this token.' : '');
  input.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener('close', () => {
      const given = input.value.trim();
      input.value = '';
      if (dialog.returnValue !== 'given' || !given) {
        reject(new Error('The server asks for a token. The button “Token” at the top takes one.'));
        return;
      }
      try {
        sessionStorage.setItem(KEY, given);
      } catch {
        // Without storage it would be asked for again and again.
        reject(new Error('The browser keeps nothing for this page, so it cannot use a token.'));
        return;
      }
      resolve();
    }, { once: true });
  });
}

export function start() {
  byId('token-form').addEventListener('submit', (event) => {
    event.preventDefault();
    byId('token').close('given');
  });
  byId('token-button').addEventListener('click', () => {
    // A page that is loaded again asks for everything with the new token.
    askForToken().then(() => location.reload(), () => {});
  });
  byId('token-button').hidden = !token();
}
