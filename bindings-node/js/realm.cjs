// A realm: this thread, as the addon knows it. It gets orders to put variants of functions into cells, which the guards of
// the modules read, and takes them at once where code is about to run.
'use strict';

const { threadId } = require('node:worker_threads');
const { randomBytes } = require('node:crypto');
const vm = require('node:vm');
const addon = require('./addon.cjs');
const { hits } = require('./hit.cjs');

const { apply, defineProperty, getOwnPropertyDescriptor } = Reflect;
const { call } = Function.prototype;
const { freeze } = Object;
const { Script } = vm;
const emitWarning = process.emitWarning.bind(process);
const [Failure, Failures] = [TypeError, Error];

/** What the names of this realm's cells begin with: no text of the program contains it. */
const prefix = `$strobe_${randomBytes(8).toString('hex')}_`;

/** Tables of variants, by the names of their cells. */
const tables = new Map();
/** What each variant was made of: its probes stay in memory as long as it does. */
const kept = new WeakMap();
/** The slots of the probes in each function, by cell and number. */
const inUse = new Map();

/** The session that the hits belong to: its number, what makes sites, and the probes by their slots. */
let session = { number: 0, makes: null, probes: new Map() };

function currentSession() {
  const number = addon.session();
  if (session.number !== number) {
    session = { number, makes: hits({ addon, gates: addon.gates(), code: addon.code }), probes: new Map() };
  }
  return session;
}

/** Makes the global that a module's guards read, before the module runs. */
function makeCell(name) {
  if (tables.has(name)) return;
  tables.set(name, []);
  define(globalThis, name, undefined, false);
}

function define(object, name, value, enumerable) {
  defineProperty(object, name, { __proto__: null, value, writable: true, enumerable, configurable: false });
}

/**
 * Puts guards into a module that is about to run, and into its functions the probes that wait for them.
 * @returns {string | null} the text to run; null: as it is
 */
function guard(path, text, kind) {
  if (typeof text !== 'string' || !text.isWellFormed()) return null;
  const guarded = addon.load(threadId, path, text, kind, prefix);
  if (guarded === null) return null;
  makeCell(guarded.cell);
  pump();
  return guarded.code;
}

/** Carries out what waits for this realm. */
function pump() {
  for (const order of addon.orders(threadId)) carryOut(order);
  if (threadId !== 0) return;
  for (const line of addon.logLines()) emitWarning(line, 'StroboscopeWarning');
}

function carryOut({ number, cell, function: index, variant }) {
  let error = null;
  try {
    put(cell, index, variant ? compiled(variant, number) : undefined);
    note(`${cell}:${index}`, variant ? variant.hits.map((hit) => hit.slot) : []);
  } catch (failure) {
    error = message(failure);
  }
  addon.carriedOut(threadId, number, error);
}

/** Puts a variant into a cell; `undefined` takes it out. A cell without variants is empty, as the guards like it best. */
function put(cell, index, variant) {
  makeCell(cell);
  const table = tables.get(cell);
  while (table.length <= index) define(table, table.length, undefined, true);
  table[index] = variant;
  globalThis[cell] = table.some((one) => one !== undefined) ? table : undefined;
}

function compiled({ code, file, line, hits: wanted }, number) {
  const { makes, probes } = currentSession();
  const sites = wanted.map(({ slot, word, captures, setup }) => {
    if (!probes.has(slot)) probes.set(slot, probe(makes, { slot, word, captures }));
    return makes.site(script(setup, file, 1), probes.get(slot));
  });
  const variant = script(code, file, line)(freeze({ ...makes.argument(sites), apply, global: globalThis, TypeError: Failure }));
  // The guards call it by its own `call`: that of all functions may be another one by then.
  define(variant, 'call', call, false);
  kept.set(variant, addon.keep(threadId, number));
  return variant;
}

function probe(makes, facts) {
  const made = makes.probe(facts);
  made.onBroken = (error) => addon.hitFailed(facts.slot, message(error));
  return made;
}

/** The message of an error, without running any code of its class. */
function message(error) {
  const own = error instanceof Failures ? getOwnPropertyDescriptor(error, 'message') : undefined;
  return typeof own?.value === 'string' ? own.value : 'it has no message';
}

function script(code, filename, line) {
  // A dynamic import in it means what it means in the file.
  const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  return new Script(code, { filename, lineOffset: line - 1, importModuleDynamically }).runInThisContext();
}

/** Notes which probes are in a function. One that is in none any more hands over its counts and is forgotten. */
function note(place, slots) {
  const before = inUse.get(place) ?? [];
  if (slots.length > 0) inUse.set(place, slots);
  else inUse.delete(place);
  for (const slot of before) {
    if ([...inUse.values()].some((others) => others.includes(slot))) continue;
    session.probes.get(slot)?.report();
    session.probes.delete(slot);
  }
}

/** Hands over what the probes of this realm have counted. */
function report() {
  for (const probe of session.probes.values()) probe.report();
}

addon.openRealm(threadId, () => {
  try {
    pump();
  } catch (failure) {
    emitWarning(`a probe could not be placed: ${message(failure)}`, 'StroboscopeWarning');
  }
});

module.exports = { guard, makeCell, prefix, pump, report, threadId };
