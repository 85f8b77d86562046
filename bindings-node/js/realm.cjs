// A realm: this thread, as the addon knows it. It gets orders to put variants of functions into cells, which the guards of
// the modules read, and takes them at once where code is about to run. What it knows stands in objects without a prototype, and
// what it calls was taken at the start: nothing that a program has replaced is asked.
'use strict';

const { threadId } = require('node:worker_threads');
const { pathToFileURL } = require('node:url');
const vm = require('node:vm');
const addon = require('./addon.cjs');
const contexts = require('./contexts.cjs');
const { WeakMap, define, descriptorOf, freeze, hasOwn, includes, listOf, now, types, uncurried, weakMapSet } = require('./primordials.cjs');
const shown = require('./shown.cjs');
const watch = require('./watch.cjs');

const { isNativeError } = types;
const { apply } = Reflect;
const { call } = Function.prototype;
const { Script } = vm;
// A dynamic import in a variant means what it means in the file.
const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
const emitWarning = process.emitWarning.bind(process);
const Failure = TypeError;
const { Proxy, setImmediate } = globalThis;

/** What the names of this realm's cells begin with: no text of the program contains it. Each guard has it in it three times, so it
 *  has no more letters than 64 bits at random take. */
const { 0: low, 1: high } = addon.random();
const letters = (part) => part.toString(36).padStart(7, '0');
const prefix = `$strobe_${letters(low)}${letters(high)}_`;

const table = () => ({ __proto__: null });
const bare = freeze(table());

/** The names by which the program has compiled files of its own (`vm`), by their cells. */
const named = table();
/** What each variant was made of: its probes stay in memory as long as it does. */
const keeps = new WeakMap();
/** What is in each function that has probes, by cell and number: its variant, and the slots of the probes. */
const placed = table();

/** The session that the hits belong to: its number, what makes sites, and the probes of this realm by their slots. */
let session = { number: 0, gates: null, makes: null, probes: table() };

function currentSession() {
  const number = addon.session();
  if (session.number !== number) {
    const gates = addon.gates();
    const { hits } = require('./hit.cjs');
    session = { number, gates, makes: hits({ addon, gates, code: addon.code }), probes: table() };
  }
  return session;
}

/** What hits need, which is most of our code. It is there as soon as there is a probe, and then it is run for nothing: else the first
 *  hit would wait for the engine to compile it. */
const parts = ['./values.cjs', './helpers.cjs', './stack.cjs', './writer.cjs', './hit.cjs'];
/** Steps that are done; infinite when none is left. */
let prepared = 0;

function prepareMore() {
  const step = prepared - parts.length;
  if (step < 0) require(parts[prepared]);
  const isDone = step >= 0 && currentSession().makes.practise(step);
  prepared = isDone ? Infinity : prepared + 1;
}

/** Gets ready for hits, if there are probes. */
function prepare() {
  if (prepared === Infinity || !addon.isProbed()) return;
  while (prepared < Infinity) prepareMore();
}

let isPreparing = false;

/** The same step by step, so that the program waits for none of them long; then what waits for it is carried out. */
function prepareSlowly() {
  isPreparing = true;
  try {
    if (prepared < Infinity && addon.isProbed()) {
      prepareMore();
      return void setImmediate(prepareSlowly);
    }
  } catch {
    // Who needs it fails in the same way, and says so.
  }
  isPreparing = false;
  attend();
}

/** The addon calls. */
function called() {
  if (isPreparing) return;
  if (addon.hasOrders(threadId)) prepareSlowly();
  else attend();
}

function attend() {
  try {
    pump();
    rest();
    handOver();
  } catch (failure) {
    emitWarning(`a probe could not be placed: ${message(failure)}`, 'StroboscopeWarning');
  }
}

/** Makes the variable that a module's guards read where it is about to run: it has its variants by the numbers of their functions,
 *  those that there are, and those that are to run now. */
function makeCell(name, home = contexts.own) {
  home.cells[name] ??= { __proto__: null, name, set: home.declare(name), made: table(), variants: [], used: 0, door: null };
}

function own(object, name, value, enumerable) {
  const made = define(object, name, { __proto__: null, value, writable: true, enumerable, configurable: false });
  if (!made) throw new Failure(`the program lets nobody define '${name}'`);
}

/**
 * Puts guards into a module that is about to run, and into its functions the probes that wait for them.
 * @returns {string | null | undefined} the text to run; null: as it is, and it is not known; undefined: as it is
 */
function guard(path, text, kind) {
  if (typeof text !== 'string') return null;
  const guarded = addon.load(threadId, path, text, kind, prefix);
  if (guarded === null) return null;
  if (guarded.code !== undefined) makeCell(guarded.cell);
  pump();
  watch.settle();
  return guarded.code;
}

/** The last text of each file that the program has compiled itself, with what became of it. */
const texts = table();

/** Puts guards into a text of a file that the program compiles itself; null: it runs as it is. One that is compiled again, for
 *  another context, is the same text. */
function guardText(path, name, text, how) {
  const last = texts[path];
  if (last !== undefined && last.text === text && isSame(last.how, how)) return last.guarded;
  if (includes(text, prefix)) return null;
  const guarded = addon.loadText(threadId, path, text, how, prefix);
  if (guarded === null) return null;
  named[guarded.cell] = name;
  texts[path] = { __proto__: null, text, how, guarded };
  pump();
  return guarded;
}

function isSame(one, other) {
  if (one.kind !== other.kind || one.isApart !== other.isApart || one.parameters.length !== other.parameters.length) return false;
  for (let at = 0; at < one.parameters.length; at += 1) if (one.parameters[at] !== other.parameters[at]) return false;
  return true;
}

/** What such a text became is about to run. */
function enter(cell, home) {
  if (home.cells[cell] === undefined) {
    makeCell(cell, home);
    for (const place in placed) {
      if (placed[place].cell !== cell) continue;
      fill(placed[place], home);
      showIn(home, placed[place], isAwake(placed[place]));
    }
  }
  watch.settle();
}

/** Of such a text nothing is left. */
function forgetText(cell) {
  for (const place in placed) {
    if (placed[place].cell !== cell) continue;
    const { file, slots } = placed[place];
    delete placed[place];
    shown.runs(place, file, null);
    forget(slots);
  }
  for (const path in texts) if (texts[path].guarded.cell === cell) delete texts[path];
  delete named[cell];
  delete doors[cell];
  addon.unload(cell);
}

/** Cells whose functions are about to have probes, with the slots of those. Until they have them a *door* stands where their guards
 *  look, so that nobody else has to wait: who calls one of these functions before that makes all of it ready. */
const doors = table();

/** Puts doors before cells for a probe. */
function awaitIn(cells, slot) {
  for (let at = 0; at < cells.length; at += 1) {
    const cell = cells[at];
    const isNew = doors[cell] === undefined;
    if (isNew) doors[cell] = [];
    own(doors[cell], doors[cell].length, slot, true);
    if (isNew) expose(cell);
  }
}

/** Opens the doors before cells of whose probes it is known what becomes of them. */
function open(waits) {
  let isOpen = true;
  for (const cell in doors) {
    if (addon.answered(threadId, doors[cell], waits)) {
      delete doors[cell];
      expose(cell);
    } else {
      isOpen = false;
    }
  }
  return isOpen;
}

/** How long that may take at most. */
const DOOR_MILLISECONDS = 3000;

/** Makes ready what waits behind doors. */
function settleDoors() {
  const end = now() + DOOR_MILLISECONDS;
  while (!open(true) && now() < end) pump();
}

/** A door. Called by guards, in the midst of the program. */
function doorOf(its) {
  return new Proxy(bare, {
    __proto__: null,
    get(_, index) {
      try {
        settleDoors();
      } catch {
        // The next turn says what is wrong.
      }
      delete doors[its.name];
      expose(its.name);
      return index < its.variants.length ? its.variants[index] : undefined;
    },
  });
}

/** Shows guards what is in a cell. One without variants is empty, as they like it best. */
function expose(cell) {
  const homes = contexts.homesOf(cell);
  for (let at = 0; at < homes.length; at += 1) exposeIn(homes[at].cells[cell]);
}

function exposeIn(its) {
  if (doors[its.name] !== undefined) its.set(its.door ??= doorOf(its));
  else its.set(its.used > 0 ? its.variants : undefined);
}

/** Carries out what waits for this realm. */
function pump() {
  const orders = addon.orders(threadId);
  for (let at = 0; at < orders.length; at += 1) carryOut(orders[at]);
  open(false);
  if (threadId !== 0) return;
  watch.pump(watched);
  const lines = addon.logLines();
  for (let at = 0; at < lines.length; at += 1) emitWarning(lines[at], 'StroboscopeWarning');
}

function carryOut(order) {
  const { number, cell, function: index, isModule } = order;
  let error = null;
  try {
    const file = named[cell] ?? nameOf(order.file, isModule);
    const place = `${cell}:${index}`;
    const before = placed[place];
    // A module that is loaded may not run yet.
    if (named[cell] === undefined) makeCell(cell);
    if (hasOwn(order, 'variant') && order.variant !== null) {
      placed[place] = made(cell, index, file, order.variant, number);
      shown.runs(place, file, order.variant);
      show(placed[place]);
    } else {
      delete placed[place];
      shown.runs(place, file, null);
      takeOut(cell, index);
    }
    if (before !== undefined) forget(before.slots);
  } catch (failure) {
    error = message(failure);
  }
  addon.carriedOut(threadId, number, error);
}

/** A function with probes in it, compiled in each home of its module, with the slots of the probes. */
function made(cell, index, file, wanted, number) {
  const slots = [];
  for (let at = 0; at < wanted.hits.length; at += 1) own(slots, at, wanted.hits[at].slot, true);
  const one = { __proto__: null, cell, index, file, wanted, slots, probes: addon.keep(threadId, number) };
  const homes = contexts.homesOf(cell);
  for (let at = 0; at < homes.length; at += 1) fill(one, homes[at]);
  return one;
}

function fill(one, home) {
  home.cells[one.cell].made[one.index] = compiled(home, one);
}

/** Puts variants where they belong, unless all their probes rest: then the function runs as it is. */
function show(one) {
  const wakes = isAwake(one);
  const homes = contexts.homesOf(one.cell);
  for (let at = 0; at < homes.length; at += 1) showIn(homes[at], one, wakes);
}

function showIn(home, { cell, index, wanted }, wakes) {
  const its = home.cells[cell];
  // For what lies behind its end the engine would look into prototypes, where the program may have put something.
  if (its.variants.length === 0) its.variants = listOf(wanted.functions);
  put(its, index, wakes ? its.made[index] : undefined);
}

function isAwake({ slots }) {
  for (let at = 0; at < slots.length; at += 1) if (session.probes[slots[at]]?.rests !== true) return true;
  return false;
}

function takeOut(cell, index) {
  const homes = contexts.homesOf(cell);
  for (let at = 0; at < homes.length; at += 1) {
    const its = homes[at].cells[cell];
    delete its.made[index];
    if (index < its.variants.length) put(its, index, undefined);
  }
}

/** Puts a variant into a cell; `undefined` takes it out. */
function put(its, index, variant) {
  const { variants } = its;
  its.used += (variant === undefined ? 0 : 1) - (variants[index] === undefined ? 0 : 1);
  variants[index] = variant;
  exposeIn(its);
}

/** A file as the engine names it. */
const nameOf = (file, isModule) => (isModule ? pathToFileURL(file).href : file);

function compiled(home, { file, probes: kept, wanted: { code, line, rethrow, hits: wanted } }) {
  const { makes, probes } = currentSession();
  const sites = [];
  for (let at = 0; at < wanted.length; at += 1) {
    const { slot, word, captures, metric, setup, code: ownCode, position } = wanted[at];
    probes[slot] ??= probe(makes, { __proto__: null, slot, word, captures, metric });
    own(sites, at, makes.site(script(setup, file, 1), probes[slot], [ownCode, position]), true);
  }
  // Hits read it: of one without a prototype the engine makes a table, which is slow to read.
  const common = { apply, global: home.global, rethrow: rethrow && script(rethrow, file, line), TypeError: home.Failure };
  const variant = script(code, file, line, home)(freeze({ ...makes.argument(sites), ...common }));
  // The guards call it by its own `call`: that of all functions may be another one by then.
  own(variant, 'call', call, false);
  weakMapSet(keeps, variant, kept);
  return variant;
}

/** What a hook of a debugger is made of. Its probes count for themselves: their hits cost more. */
function watched(wanted) {
  const { makes } = currentSession();
  const { slot, word, captures, metric } = wanted[0];
  // All of them are of one probe.
  const one = probe(makes, { slot, word, captures, metric, watched: true });
  const sites = [];
  for (let at = 0; at < wanted.length; at += 1) {
    const { setup, code, position } = wanted[at];
    own(sites, at, makes.site(script(setup, 'stroboscope', 1), one, [code, position]), true);
  }
  return { sites, absent: makes.absent, probe: one };
}

function probe(makes, facts) {
  const one = makes.probe(facts);
  one.onDisarm = askForRest;
  one.onBroken = (error) => addon.hitFailed(facts.slot, message(error));
  return one;
}

/** A probe refuses much: its hooks are to go between two turns of the event loop. Called in its hits. */
function askForRest(probe) {
  if (probe.wantsRest) return;
  probe.wantsRest = true;
  addon.restHooks(threadId, probe.slot);
}

/** Hands over what metric probes have measured. The core asks for it once a second. */
function handOver() {
  for (const slot in session.probes) if (session.probes[slot].measured > 0) session.probes[slot].report();
}

/** Takes the hooks of probes away that refuse much, and brings back those that have a token again. */
function rest() {
  const wishes = addon.rests(threadId);
  for (let at = 0; at < wishes.length; at += 1) {
    const { slot, rests } = wishes[at];
    const probe = session.probes[slot];
    if (probe === undefined) continue;
    probe.wantsRest = false;
    // There may be a token by now.
    probe.rests = rests && session.gates[probe.word] <= 0;
    probe.report();
    for (const place in placed) if (has(placed[place].slots, slot)) show(placed[place]);
  }
}

function has(slots, slot) {
  for (let at = 0; at < slots.length; at += 1) if (slots[at] === slot) return true;
  return false;
}

/** The message of an error, without running any code of its class. */
function message(error) {
  const text = isNativeError(error) ? descriptorOf(error, 'message')?.value : undefined;
  return typeof text === 'string' ? text : 'it has no message';
}

function script(code, filename, line, home = contexts.own) {
  const options = { __proto__: null, filename, lineOffset: line - 1, importModuleDynamically };
  return home.run(new Script(code, options));
}

/** Probes that are in no function any more hand over their counts and are forgotten. */
function forget(slots) {
  for (let at = 0; at < slots.length; at += 1) if (!isPlaced(slots[at])) leave(slots[at]);
}

function isPlaced(slot) {
  for (const place in placed) if (has(placed[place].slots, slot)) return true;
  return false;
}

function leave(slot) {
  session.probes[slot]?.report();
  delete session.probes[slot];
}

/** Hands over what the probes of this realm have counted. */
function report() {
  for (const slot in session.probes) session.probes[slot].report();
  watch.report();
}

if (threadId === 0) addon.watchPrefix(prefix);
addon.openRealm(threadId, called);

// A thread that ends has counted since it told last.
process.on('exit', report);

module.exports = { awaitIn, enter, forgetText, guard, guardText, makeCell, message, prefix, prepare, pump, report, settle: watch.settle, settleDoors, threadId };
