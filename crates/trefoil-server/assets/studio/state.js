// What survives a reload, in the browser alone. Pictures are not here: the server keeps jobs, and the page their names.

const KEY = 'trefoil-studio';

/** Names of jobs whose results are shown. */
export const MOST_JOBS = 24;

const FRESH = {
  view: 'create',
  create: { prompt: '', negative: '', count: 4, steps: null, guidance: null, seed: '', instant: false },
  jobs: [],
  blend: { slots: [null, null], at: 4 },
  find: { user: null, query: '' },
  runs: { name: '', smooth: 0.6, log: false },
};

function read() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') ?? {};
  } catch {
    // Damaged or forbidden: the page begins anew.
  }
  const state = structuredClone(FRESH);
  for (const [name, usual] of Object.entries(state)) {
    const value = kept[name];
    if (value === undefined || typeof value !== typeof usual) continue;
    const isPlain = typeof usual === 'object' && !Array.isArray(usual);
    state[name] = isPlain ? { ...usual, ...value } : value;
  }
  state.jobs = Array.isArray(state.jobs) ? state.jobs.filter((job) => typeof job?.id === 'string') : [];
  state.find.user ??= `visitor-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
  return state;
}

export const state = read();

/** Keeps the state; call it after each change. */
export function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // Full: pictures to be blended are all that can be large.
    const slim = { ...state, blend: { ...state.blend, slots: [null, null] } };
    try {
      localStorage.setItem(KEY, JSON.stringify(slim));
    } catch {
      // Forbidden by the browser: the page works until it is closed.
    }
  }
}

save();
