// What a debugger watches for, as the main thread has to do with it: the hooks that conditions of breakpoints call, and the
// thread that sets those (`watcher.cjs`), which is there as soon as it is needed. Beside `realm.cjs`, whose pump calls this.
'use strict';

const path = require('node:path');
const { isMainThread, Worker } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { now } = require('./primordials.cjs');

const { defineProperty, deleteProperty } = Reflect;
const { freeze } = Object;
const { load, notify, store, wait } = Atomics;

/** How long the program waits at most until what is to be watched for in a module is, before that runs; and, at its end, until
 *  the debugger has left. */
const [SET_MILLISECONDS, LEAVE_MILLISECONDS] = [2000, 500];
/** A hit's own cost is the least of so many that were measured. */
const MEASURED = 16;

/** Words that both threads see: the watcher is asked to leave, and has nothing connected. */
const [LEAVES, IS_APART] = [0, 1];
const door = new Int32Array(new SharedArrayBuffer(8));
store(door, IS_APART, 1);

let watcher = null;

/**
 * Makes the hooks that wait, and deletes those that nothing calls any more.
 * @param {(hits: object[]) => { argument: object, probes: object[] }} sitesOf
 */
function pump(sitesOf) {
  if (!isMainThread) return;
  const { hooks, watcher: wanted } = addon.watchHooks();
  for (const { number, name, hits } of hooks) {
    if (hits.length === 0) {
      forget(number, name);
      continue;
    }
    let error = null;
    try {
      define(name, hook(number, sitesOf(hits)));
    } catch (failure) {
      error = String(failure?.message);
    }
    addon.watchMade(number, error);
  }
  if (wanted && watcher === null) open();
}

/** The probes of each hook. */
const hooked = new Map();

function forget(number, name) {
  for (const probe of hooked.get(number) ?? []) probe.report();
  hooked.delete(number);
  deleteProperty(globalThis, name);
}

/** Hands over what they have counted. */
function report() {
  for (const probes of hooked.values()) for (const probe of probes) probe.report();
}

function define(name, value) {
  defineProperty(globalThis, name, { __proto__: null, value, writable: false, enumerable: false, configurable: true });
}

/** What conditions know by one name: the sites of the hits, and a clock for what a condition costs before it begins. Of two
 *  conditions at one place the second begins as the first has ended, and nothing else is between them. */
function hook(number, { argument, probe }) {
  let [from, least, left] = [-1, Infinity, MEASURED];
  const measure = () => {
    if (from < 0 || left === 0) return;
    least = Math.min(least, now() - from);
    left -= 1;
    if (left > 0) return;
    for (const probe of probes) probe.overhead = least;
    addon.watchCost(number, least * 1e6);
  };
  for (const probe of probes) probe.onDisarm = () => addon.watchRest(probe.slot);
  hooked.set(number, probes);
  return freeze({
    ...argument,
    begins() {
      if (left > 0) measure();
      from = -1;
    },
    ends() {
      if (left > 0) from = now();
    },
    marks() {
      if (left === 0) return true;
      measure();
      from = now();
      return false;
    },
  });
}

/** Why there can be no debugger here; null if there can. A Node whose permission model does not know of debuggers crashes as one
 *  connects. */
function forbidden() {
  const { permission } = process;
  if (permission === undefined) return null;
  try {
    if (permission.has('inspector')) return null;
  } catch {
    // It does not know of them.
  }
  return 'the permission model forbids a debugger: see --allow-inspector and --allow-worker';
}

/** Starts the thread. It takes nothing of the program's environment, such as a preload, and does not keep it alive. */
function open() {
  const why = forbidden();
  if (why !== null) {
    watcher = false;
    addon.watcherBroken(why);
    return;
  }
  try {
    watcher = new Worker(path.join(__dirname, 'watcher.cjs'), {
      name: 'stroboscope',
      workerData: { door },
      argv: [],
      env: {},
      execArgv: [],
      stderr: true,
      stdout: true,
    });
  } catch (error) {
    watcher = false;
    addon.watcherBroken(`no thread can be started for a debugger: ${error?.message}`);
    return;
  }
  watcher.unref();
  watcher.on('error', (error) => addon.watcherBroken(`the thread that watches has failed: ${error?.message}`));
  process.on('exit', leave);
}

/** Waits until what was ordered is done. Time and again the engine looks for what the debugger has to say. */
function settle(milliseconds = SET_MILLISECONDS) {
  if (!isMainThread) return;
  until(() => !addon.watchIsBusy(), milliseconds);
}

/** The debugger leaves before the process does: else Node would wait for it, and say so. */
function leave() {
  store(door, LEAVES, 1);
  notify(door, LEAVES);
  until(() => load(door, IS_APART) === 1, LEAVE_MILLISECONDS);
}

function until(holds, milliseconds) {
  for (const end = now() + milliseconds; !holds() && now() < end; ) wait(door, IS_APART, load(door, IS_APART), 1);
}

module.exports = { pump, report, settle };
