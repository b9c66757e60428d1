// The page from its start: which view is shown, and what the server can do.

import { get } from './api.js';
import * as create from './create.js';
import { byId, say } from './dom.js';
import * as find from './find.js';
import * as runs from './runs.js';
import { save, state } from './state.js';
import * as token from './token.js';
import * as viewer from './viewer.js';
import * as why from './why.js';

const VIEWS = ['create', 'find', 'runs'];
const TITLES = { create: 'Create', find: 'Find', runs: 'Runs' };

let isReady = false;

/** Shows the view that the address names, or the one that was shown last. */
function show() {
  const asked = location.hash.slice(1);
  // `#main` is the link that skips the head.
  if (asked === 'main') return;
  const view = VIEWS.includes(asked) ? asked : state.view;
  state.view = VIEWS.includes(view) ? view : VIEWS[0];
  save();
  for (const name of VIEWS) byId(name).hidden = name !== state.view;
  for (const link of document.querySelectorAll('nav [data-view]')) {
    if (link.dataset.view === state.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${TITLES[state.view]} – Trefoil`;
  if (!isReady) return;
  runs.setOpen(state.view === 'runs');
  if (state.view === 'find') find.open();
}

async function ask() {
  const { data } = await get('v1/models');
  const model = data.find(({ id }) => id === 'unidiffuser');
  byId('model').textContent = model ? `${model.name}, ${model.image_size} × ${model.image_size}` : '';
  create.setModels(data);
  find.setModels(data);
}

async function begin() {
  try {
    await ask();
    isReady = true;
    create.resume();
    show();
  } catch (error) {
    byId('banner').className = 'banner is-away';
    say(byId('banner'), error.message);
  }
}

token.start();
viewer.start();
why.start();
create.start(byId('create'));
find.start(byId('find'));
runs.start();
window.addEventListener('hashchange', show);
// Another program may be at the address now, with other models.
document.addEventListener('server-back', () => { if (isReady) ask().catch(() => {}); });
show();
begin();
