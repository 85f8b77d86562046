// The threads that the program starts, as the thread knows it that starts them: those that begin without us have no probes, and the
// status of a probe that waits says so.
'use strict';

const { subscribe } = require('node:diagnostics_channel');
const { Worker } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { descriptorOf, uncurried } = require('./primordials.cjs');
const { isOurs } = require('./unseen.cjs');

const { clearTimeout, setTimeout } = globalThis;
const numberOf = uncurried(descriptorOf(Worker.prototype, 'threadId').get);
const first = setTimeout(() => {}, 1);
const unref = uncurried(first.unref);
clearTimeout(first);

/** How often it is looked whether a thread has begun with us, and how long that may take. */
const EACH_MILLISECONDS = 100;
const TIMES = 50;

/** Looks until a thread has opened its realm, or is gone, or has had the time for it. */
function follow(worker, thread, times) {
  const look = () => {
    const ends = times === 0 || numberOf(worker) !== thread;
    if (!addon.threadIsKnown(thread, ends) && !ends) follow(worker, thread, times - 1);
  };
  unref(setTimeout(look, EACH_MILLISECONDS));
}

function install() {
  subscribe('worker_threads', ({ worker }) => {
    if (!isOurs()) follow(worker, numberOf(worker), TIMES);
  });
}

module.exports = { install };
