// Jobs: what takes a while is asked for, followed and fetched, also by a page that was loaded again and from a server
// that was started again.

import { get, listen, post } from './api.js';

/** A job that was stopped, which is no mistake. */
export class Stopped extends Error {}

/** Asks for something. Returns the job. */
export const begin = (task, request, options) => post('v1/jobs', { task, request }, options);

export const cancel = (id) => post(`v1/jobs/${id}/cancel`, {});

export const result = (id) => get(`v1/jobs/${id}/result`);

/** Follows a job to its result; `onprogress` gets what the server tells on the way. */
export async function follow(id, onprogress, signal) {
  let end = null;
  while (!end) {
    try {
      await listen(`v1/jobs/${id}/events`, (name, data) => {
        if (name === 'end') end = data;
        else onprogress?.(data);
      }, signal);
    } catch (error) {
      if (signal?.aborted || error.status) throw error;
      // The connection broke; asking for the job waits for the server.
    }
    if (!end) {
      const job = await get(`v1/jobs/${id}`, { signal });
      if (!['queued', 'running'].includes(job.status)) end = job;
    }
  }
  if (end.status === 'cancelled') throw new Stopped('cancelled');
  if (end.status !== 'succeeded') throw new Error(end.error?.message ?? end.error ?? 'It failed.');
  return result(id);
}

/** Asks for something and waits for it. */
export async function run(task, request, { onprogress, onwait, signal } = {}) {
  const job = await begin(task, request, { onwait, signal });
  const stop = () => cancel(job.id).catch(() => {});
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await follow(job.id, onprogress, signal);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
