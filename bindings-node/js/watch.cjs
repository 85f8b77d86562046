// What a debugger watches for, as the main thread has to do with it: the hooks that conditions of breakpoints call, and the
// thread that sets those (`watcher.cjs`), which is there as soon as it is needed. Beside `realm.cjs`, whose pump calls this.
'use strict';

const path = require('node:path');
const { isMainThread, Worker } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { isCounted } = require('./counted.cjs');
const { now } = require('./primordials.cjs');
const { unseen } = require('./unseen.cjs');

const { apply, defineProperty, deleteProperty } = Reflect;
const { freeze } = Object;
const { load, notify, store, wait } = Atomics;

/** How long the program waits at most until what is to be watched for in a module is, before that runs; and, at its end, until
 *  the debugger has left. */
const [SET_MILLISECONDS, LEAVE_MILLISECONDS] = [2000, 500];
/** Hits of which it is measured what they cost before our code begins. */
const MEASURED = 16;

/** Words that both threads see: the watcher is asked to leave, and has nothing connected; a debugger in this thread pauses it. */
const [LEAVES, IS_APART, IS_PAUSED] = [0, 1, 2];
const door = new Int32Array(new SharedArrayBuffer(12));
store(door, IS_APART, 1);
/** By the number of a watch: it was hit since the watcher looked last. */
const seen = new Int32Array(new SharedArrayBuffer(4096));

let watcher = null;

/**
 * Makes the hooks that wait, and deletes those that nothing calls any more.
 * @param {(hits: object[]) => { argument: object, probe: object }} sitesOf
 */
function pump(sitesOf) {
  if (!isMainThread) return;
  const { hooks, watcher: wanted } = addon.watchHooks();
  for (let at = 0; at < hooks.length; at += 1) {
    const { number, name, hits } = hooks[at];
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

/** The probe of each hook, by its number. */
const hooked = { __proto__: null };

function forget(number, name) {
  hooked[number]?.report();
  delete hooked[number];
  deleteProperty(globalThis, name);
}

/** Hands over what they have counted. */
function report() {
  for (const number in hooked) hooked[number].report();
}

function define(name, value) {
  defineProperty(globalThis, name, { __proto__: null, value, writable: false, enumerable: false, configurable: true });
}

/** What conditions know by one name: the sites of the hits, and a clock for what a condition costs before it begins. Two
 *  conditions stand at a place, that of the hit and one that only marks; the engine goes through both without anything between
 *  them, in an order of its own: the shorter time is that, the longer one what the program does between two hits. */
function hook(number, { argument, probe }) {
  let [left, from, before, after] = [MEASURED, 0, 0, 0];
  const measured = () => {
    probe.overhead = (before < after ? before : after) / MEASURED;
    addon.watchCost(number, probe.overhead * 1e6);
  };
  probe.onDisarm = () => addon.watchRest(probe.slot);
  hooked[number] = probe;
  return freeze({
    ...argument,
    begins() {
      seen[number % seen.length] = 1;
      if (left > 0 && from > 0) before += now() - from;
    },
    ends() {
      if (left > 0) from = now();
    },
    marks() {
      if (left === 0) return;
      if (from > 0) after += now() - from;
      from = now();
      left -= 1;
      if (left === 0) measured();
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
    watcher = unseen(() => new Worker(path.join(__dirname, 'watcher.cjs'), {
      name: 'stroboscope',
      workerData: { door, seen, isCounted },
      argv: [],
      env: {},
      execArgv: [],
      stderr: true,
      stdout: true,
    }));
  } catch (error) {
    watcher = false;
    addon.watcherBroken(`no thread can be started for a debugger: ${error?.message}`);
    return;
  }
  watcher.on('message', goesOn);
  watcher.unref();
  hearPauses();
  watcher.on('error', (error) => addon.watcherBroken(`the thread that watches has failed: ${error?.message}`));
  process.on('exit', leave);
}

/** Tells the watcher when a debugger that the program has in this thread is told of a pause: Node goes on by itself after that, if
 *  nobody is connected from another thread. */
function hearPauses() {
  const { prototype } = require('node:inspector').Session;
  const { emit: tell } = prototype;
  const { emit } = {
    emit(name) {
      try {
        return apply(tell, this, arguments);
      } finally {
        if (name === 'Debugger.paused') say(IS_PAUSED, 1);
      }
    },
  };
  defineProperty(prototype, 'emit', { __proto__: null, value: emit, writable: true, enumerable: false, configurable: true });
}

/** Code of the program runs, so it is not paused. */
function goesOn() {
  if (load(door, IS_PAUSED) === 1) say(IS_PAUSED, 0);
}

function say(word, value) {
  store(door, word, value);
  notify(door, word);
}

/** Waits until what was ordered is done. Time and again the engine looks for what the debugger has to say. */
function settle(milliseconds = SET_MILLISECONDS) {
  if (!isMainThread) return;
  goesOn();
  until(() => !addon.watchIsBusy(), milliseconds);
}

/** The debugger leaves before the process does: else Node would wait for it, and say so. */
function leave() {
  if (isCounted) stay();
  say(LEAVES, 1);
  until(() => load(door, IS_APART) === 1, LEAVE_MILLISECONDS);
}

/** As the last debugger leaves, the engine forgets what it has counted within functions. One of this thread stays, and nobody waits
 *  for it. */
function stay() {
  const { Session } = require('node:inspector');
  const session = new Session();
  session.connect();
  session.post('Debugger.setSkipAllPauses', { skip: true });
  session.post('Debugger.enable');
  session.post('Debugger.setSkipAllPauses', { skip: true });
}

function until(holds, milliseconds) {
  for (const end = now() + milliseconds; !holds() && now() < end; ) wait(door, IS_APART, load(door, IS_APART), 1);
}

module.exports = { pump, report, settle };
