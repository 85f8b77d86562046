// The thread that watches: a debugger of the main thread, which sets the breakpoints that `src/watch.rs` wants and never stops
// anything. The debugger is on only while there are some. It knows nothing of probes.
'use strict';

const { fileURLToPath, pathToFileURL } = require('node:url');
const { parentPort, workerData } = require('node:worker_threads');
const addon = require('./addon.cjs');

const { door, seen, isCounted } = workerData;
const [LEAVES, IS_APART, IS_PAUSED, NEWS] = [0, 1, 2, 3];
/** So long the breakpoints stay away after a pause of the program's own: there may be more of them. */
const PAUSE_MILLISECONDS = 100;
/** How long a debugger that has nothing to do stays: to switch it on stops the program for some time. */
const IDLE_MILLISECONDS = 5000;
/** So long after the last hit of calls that are older than their probe they count as over. What comes later has a guard. */
const QUIET_MILLISECONDS = 10_000;
/** Scripts that are known at most; the oldest are forgotten. */
const SCRIPTS = 20_000;

let session = null;
let idle = null;
/** Scripts by their addresses: number, length, hash, and whether it is a module. */
const scripts = new Map();
let known = 0;
/** The breakpoint at each place, of which the engine takes one: how it is made, and by the probes' slots what watches evaluate. */
const places = new Map();
/** What is to be watched for, by its number. */
const orders = new Map();
/** The places of each watch, and the breakpoint that only measures, by its number. */
const set = new Map();
const meters = new Map();

const post = (method, parameters) =>
  new Promise((resolve, reject) => {
    session.post(method, parameters, (error, result) => (error ? reject(new Error(error.message)) : resolve(result)));
    tell();
  });

/** The main thread may wait for this. */
function tell() {
  Atomics.add(door, NEWS, 1);
  Atomics.notify(door, NEWS);
}

/** Switches the debugger on. It would never stop for anything: not for a `debugger` of the program's. */
async function connect() {
  // Where it is not allowed, this is what says so.
  const { Session } = require('node:inspector');
  const made = new Session();
  made.connectToMainThread();
  session = made;
  Atomics.store(door, IS_APART, 0);
  session.on('Debugger.scriptParsed', ({ params }) => note(params));
  session.on('Debugger.paused', ({ params }) => paused(params));
  const began = performance.now();
  const skip = { skip: true };
  const asked = [
    post('Debugger.setSkipAllPauses', skip),
    // What conditions were compiled to may go.
    post('Debugger.enable', { maxScriptsCacheSize: 1_000_000 }),
    post('Debugger.setSkipAllPauses', skip),
  ];
  await Promise.all(asked);
  addon.watcherSwitched(performance.now() - began);
}

/** Others' pauses are theirs. Short of memory the engine stops for whoever is there: if that is us alone, it goes on as we go. */
function paused({ reason }) {
  if (reason !== 'OOM') return;
  disconnect();
  addon.watcherBroken('the program has run out of memory');
}

function disconnect() {
  if (session === null) return;
  session.disconnect();
  session = null;
  scripts.clear();
  known = 0;
  places.clear();
  set.clear();
  meters.clear();
  Atomics.store(door, IS_APART, 1);
  tell();
}

function note({ scriptId, url, length, hash, isModule, startLine, startColumn, executionContextAuxData }) {
  if (!url.startsWith('file:') || startLine !== 0 || startColumn !== 0) return;
  // In a context of `vm` there are no hooks.
  if (executionContextAuxData?.isDefault === false) return;
  const address = url.replace(/[?#].*$/, '');
  if (!scripts.has(address)) scripts.set(address, []);
  scripts.get(address).push({ scriptId, length, hash, isModule });
  known += 1;
  if (known <= SCRIPTS) return;
  const [oldest, its] = scripts.entries().next().value;
  scripts.delete(oldest);
  known -= its.length;
}

/** Does what is to be done, one thing at a time. */
let working = null;
let again = false;
async function wake() {
  again = true;
  if (working !== null) return;
  working = rounds();
  try {
    await working;
  } finally {
    working = null;
  }
}

async function rounds() {
  while (again) {
    again = false;
    try {
      await round();
    } catch (error) {
      disconnect();
      addon.watcherBroken(`no debugger can be had: ${error?.message}`);
    }
  }
}

async function round() {
  if (Atomics.load(door, LEAVES) === 1) return disconnect();
  if (Atomics.load(door, IS_PAUSED) === 1) return stepAside();
  const work = addon.watcherWork();
  if (work.needed && session === null) await connectAgain();
  clearTimeout(idle);
  for (const number of work.measured) await removeMeter(number);
  for (const number of work.unset) await unset(number);
  for (const one of work.set) await setOne(one);
  if (work.lists) await list();
  // What the engine has counted would go with the debugger.
  if (session === null || work.needed || isCounted) return;
  if (work.done) disconnect();
  else idle = setTimeout(() => again || disconnect(), IDLE_MILLISECONDS);
}

/** A debugger that the program has in its own thread has stopped it. Node goes on by itself then, unless a debugger in another thread
 *  is there to say so: that must not be this one. */
function stepAside() {
  disconnect();
  // It is heard as soon as the program runs again.
  setTimeout(() => parentPort.postMessage(null), PAUSE_MILLISECONDS).unref();
}

/** Connects, with all breakpoints that were there before. */
async function connectAgain() {
  await connect();
  for (const one of orders.values()) await setOne(one);
}

async function unset(number) {
  orders.delete(number);
  await removeMeter(number);
  await leave(number);
  addon.watcherUnset(number);
}

/** Takes a watch away from its places. */
async function leave(number) {
  const keys = set.get(number) ?? [];
  set.delete(number);
  for (const key of keys) {
    const watches = places.get(key)?.watches ?? new Map();
    for (const [slot, watch] of watches) if (watch.number === number) watches.delete(slot);
    if (places.has(key)) await renew(key);
  }
}

/** Sets the breakpoint of a place anew. Nothing of the program runs between the old one and the new one. */
async function renew(key) {
  const place = places.get(key);
  const { method, parameters, watches, breakpoint } = place;
  const posted = breakpoint === null ? [] : [remove(breakpoint)];
  place.breakpoint = null;
  if (watches.size === 0) {
    places.delete(key);
  } else {
    const codes = [...watches.values()].map(({ code }) => code).join('');
    posted.push(post(method, { ...parameters, condition: `${codes}false` }).then(({ breakpointId }) => (place.breakpoint = breakpointId)));
  }
  await Promise.all(posted);
}

async function removeMeter(number) {
  const meter = meters.get(number);
  if (meter === undefined) return;
  meters.delete(number);
  await remove(meter);
}

const remove = (breakpointId) => post('Debugger.removeBreakpoint', { breakpointId });

async function setOne(one) {
  const began = performance.now();
  orders.set(one.number, one);
  const { number, slot, hook, path, length, stops, measures, beside, hasQueries } = one;
  const url = pathToFileURL(path).href;
  const loaded = (scripts.get(url) ?? []).filter((script) => script.length === length);
  try {
    const wanted = stops.flatMap((stop) => (loaded.length > 0 ? loaded.map((script) => inScript(script, stop)) : [toCome(url, hasQueries, stop)]));
    set.set(number, wanted.map(([key]) => key));
    for (const place of wanted) await enter(number, slot, place);
    addon.watcherSet(number, performance.now() - began, null);
    tell();
  } catch (error) {
    orders.delete(number);
    await leave(number);
    addon.watcherSet(number, 0, `the engine has refused it: ${error.message}`);
    return;
  }
  if (measures) await measure(number, hook, url, loaded, stops[0]);
  if (beside) setTimeout(lookForHits, QUIET_MILLISECONDS, number);
}

/** Watches for calls that run already as long as there are some. */
function lookForHits(number) {
  if (!set.has(number)) return;
  if (Atomics.exchange(seen, number % seen.length, 0) === 1) setTimeout(lookForHits, QUIET_MILLISECONDS, number);
  else addon.watcherQuiet(number);
}

/** A watch comes to a place. A module that is loaded once more is watched by its newest text only. */
function enter(number, slot, [key, method, parameters, code]) {
  if (!places.has(key)) places.set(key, { method, parameters, watches: new Map(), breakpoint: null });
  places.get(key).watches.set(slot, { number, code });
  return renew(key);
}

const inScript = ({ scriptId }, { line, column, code }) => [
  `${scriptId}:${line}:${column}`,
  'Debugger.setBreakpoint',
  { location: { scriptId, lineNumber: line, columnNumber: column } },
  code,
];

/** In a script that is not there yet. Variants have its name as well: `$s` is there in those only, which have the hit in them already. */
const toCome = (url, hasQueries, { line, column, code }) => [
  `${url}:${line}:${column}`,
  'Debugger.setBreakpointByUrl',
  { ...address(url, hasQueries), lineNumber: line, columnNumber: column },
  `if(typeof $s==='undefined')${code}`,
];

/** The engine compiles each pattern anew for each script, and conditions are scripts: only what needs one has it. */
const address = (url, hasQueries) =>
  hasQueries ? { urlRegex: `^${url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?:[?#].*)?$` } : { url };

/** A second breakpoint at the place, which tells what a condition costs, until that is known. */
async function measure(number, hook, url, loaded, { line, column }) {
  const place = loaded.length > 0 ? { scriptHash: loaded[0].hash } : { url };
  const condition = `${hook}.marks();false`;
  try {
    const { breakpointId } = await post('Debugger.setBreakpointByUrl', { ...place, lineNumber: line, columnNumber: column, condition });
    meters.set(number, breakpointId);
  } catch {
    // What was assumed goes on counting.
  }
}

/** Tells which files run, and the texts of those that are wanted. */
async function list() {
  // What the engine has said of scripts before comes before its answer.
  await post('Runtime.getIsolateId');
  const found = [...scripts].filter(([url]) => isPath(url));
  const wanted = addon.watcherScripts(found.map(([url]) => fileURLToPath(url)));
  for (const at of wanted) {
    const [url, [{ scriptId, isModule }]] = found[at];
    const { scriptSource } = await post('Debugger.getScriptSource', { scriptId });
    addon.watcherScript(fileURLToPath(url), scriptSource, isModule === true);
  }
  addon.watcherListed();
}

function isPath(url) {
  try {
    return fileURLToPath(url) !== '';
  } catch {
    return false;
  }
}

/** Looks each time that the program is paused, or goes on. */
function listen() {
  const { async, value } = Atomics.waitAsync(door, IS_PAUSED, Atomics.load(door, IS_PAUSED));
  if (async) value.then(listen);
  else setImmediate(listen);
  wake();
}

addon.watcherOpens(wake);
Atomics.waitAsync(door, LEAVES, 0).value?.then?.(wake);
listen();
wake();
