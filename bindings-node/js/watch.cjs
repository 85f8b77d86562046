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
const { RangeError } = globalThis;
const { watchClock: cpu } = addon;
const { load, notify, store, wait } = Atomics;

/** How long the program waits at most until what is to be watched for in a module is, before that runs; and, at its end, until
 *  the debugger has left. */
const SET_MILLISECONDS = 2000;
const LEAVE_MILLISECONDS = 500;
/** Hits of which it is measured what they cost before our code begins; what is assumed before that, in milliseconds; and how many
 *  times the least of it a hit takes at most, which comes when nothing of it is in the processor's caches. */
const MEASURED = 16;
const ASSUMED_MILLISECONDS = 0.25;
const AT_MOST = 5;

/** Words that both threads see: the watcher is asked to leave, and has nothing connected; a debugger in this thread pauses it; what
 *  the watcher has asked of this thread, or done, so far. */
const LEAVES = 0;
const IS_APART = 1;
const IS_PAUSED = 2;
const NEWS = 3;
const door = new Int32Array(new SharedArrayBuffer(16));
store(door, IS_APART, 1);
/** By the number of a watch: it was hit since the watcher looked last. */
const seen = new Int32Array(new SharedArrayBuffer(4096));

let watcher = null;

/**
 * Makes the hooks that wait, and deletes those that nothing calls any more.
 * @param {(hits: object[]) => { sites: object[], absent: object, probe: object }} sitesOf
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
    const began = now();
    let error = null;
    try {
      define(name, hook(number, sitesOf(hits)));
    } catch (failure) {
      error = String(failure?.message);
    }
    addon.watchMade(number, now() - began, error);
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

/** What conditions know by one name: of each hit its test and what is done if that holds, and what they read with. None of it ever
 *  fails; a condition notes by itself that it could not call, or not read. */
function hook(number, { sites, absent, probe }) {
  const clock = new Clock(number, probe);
  probe.onDisarm = () => addon.watchRest(probe.slot);
  hooked[number] = probe;
  const made = {
    __proto__: null,
    absent,
    probe,
    lost: new RangeError('a condition could not be evaluated'),
    marks: () => clock.marks(),
    read(value) {
      try {
        return value();
      } catch {
        return absent;
      }
    },
    // A function that is called without a receiver has none, or the global object, of which nobody wants to know.
    receiver: (value) => (value === globalThis || value === undefined ? absent : value),
  };
  for (let at = 0; at < sites.length; at += 1) {
    made[`h${at}t`] = testOf(sites[at], clock);
    made[`h${at}f`] = fireOf(sites[at], clock, absent);
  }
  return freeze(made);
}

/** A test is all there is of a hit that it does not want. */
function testOf(site, clock) {
  const { probe, test } = site;
  const whole = function () {
    clock.begins();
    try {
      if (apply(test, site, arguments)) return true;
    } catch (error) {
      probe.error = error;
    }
    clock.ends();
    return false;
  };
  // The stack of one that fails begins below it.
  site.test = whole;
  return whole;
}

function fireOf(site, clock, absent) {
  const fire = (values, privates) => {
    try {
      site.fire(0, absent, absent, values, privates, 0, fire);
    } catch (error) {
      site.probe.error = error;
    }
    clock.ends();
    return false;
  };
  return fire;
}

/** What a hit costs before our code begins, in CPU of this thread: the engine stops, makes what a condition can see, and compiles
 *  that. Nobody can be asked when it has begun. It was after the last hit, and it is no more than a few times what lies between two
 *  conditions at one place: for some hits there is another one, which only marks. The engine goes through both without anything
 *  between them, in an order of its own: the shorter time is that, the longer one what the program does between two hits. */
class Clock {
  constructor(number, probe) {
    this.number = number;
    this.probe = probe;
  }

  left = MEASURED;
  most = ASSUMED_MILLISECONDS;
  ended = 0;
  before = 0;
  after = 0;

  begins() {
    seen[this.number % seen.length] = 1;
    const since = cpu() - this.ended;
    if (this.left > 0 && this.ended > 0) this.before += since;
    const { probe } = this;
    probe.overhead = since < this.most ? since : this.most;
    // Each is timed. One that could not go on has left its clock running.
    probe.started = 0;
    probe.left = 1;
  }

  ends() {
    this.ended = cpu();
  }

  marks() {
    if (this.left === 0) return;
    const time = cpu();
    if (this.ended > 0) this.after += time - this.ended;
    this.ended = time;
    this.left -= 1;
    if (this.left > 0) return;
    this.most = ((this.before < this.after ? this.before : this.after) / MEASURED) * AT_MOST;
    addon.watchCost(this.number, this.most * 1e6);
  }
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

/** Waits until what was ordered is done. */
function settle(milliseconds = SET_MILLISECONDS) {
  if (!isMainThread) return;
  goesOn();
  if (!addon.watchAwaits()) return;
  const began = now();
  until(() => !addon.watchIsBusy(), milliseconds);
  addon.watchAwaited(now() - began);
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

/** Time and again the engine looks for what the debugger asks of this thread: at once when there is something, since between two
 *  waits it does so. */
function until(holds, milliseconds) {
  const end = now() + milliseconds;
  for (let news = load(door, NEWS); !holds() && now() < end; news = load(door, NEWS)) wait(door, NEWS, news, 1);
}

module.exports = { pump, report, settle };
