// What a program calls.
'use strict';

const own = require('./own.cjs');

const addon = own('addon.cjs');
const begin = own('begin.cjs');
const realm = own('realm.cjs');

const { parse, stringify } = JSON;
const Failure = TypeError;
const Unknown = RangeError;

/** Refuses what is no argument of this kind. */
function expect(isRight, what, value) {
  if (isRight) return;
  const named = value === null ? 'null' : Array.isArray(value) ? 'a list' : value instanceof Map ? 'a Map' : typeof value;
  const shown = typeof value === 'string' ? `'${value}'` : named;
  throw new Failure(`${what}; got ${shown}`);
}

const isObject = (value) => typeof value === 'object' && value !== null;
const isTime = (seconds) => expect(typeof seconds === 'number', 'the time is a number of seconds', seconds);

/**
 * Starts. Settings are those of the documentation, in camel case; they go before the environment.
 * @param {import('../index.d.cts').Settings} [settings]
 * @returns {string[]} settings and probe files that could not be used, or why it is off
 */
function start(settings = {}) {
  const isTable = isObject(settings) && !Array.isArray(settings) && !(settings instanceof Map);
  expect(isTable, 'settings are an object, by option names', settings);
  return begin.start(settings, 'program');
}

/**
 * Delivers what was captured and stops.
 * @param {number} [seconds] how long that may take
 * @returns {Promise<boolean>} false if something captured did not arrive
 */
async function stop(seconds = 2) {
  isTime(seconds);
  realm.report();
  const delivered = await addon.stop(seconds);
  realm.pump();
  return delivered;
}

/**
 * Puts a probe in force.
 * @param {object | string} definition or its JSON text
 * @returns {string} its id; `status()` says what became of it
 */
function addProbe(definition) {
  const isRight = typeof definition === 'string' || isObject(definition);
  expect(isRight, 'a probe is an object, or its JSON text', definition);
  const id = addon.addProbe(typeof definition === 'string' ? definition : stringify(definition));
  begin.settle(id);
  return id;
}

/**
 * Removes a probe.
 * @param {string} id
 * @returns {boolean} false if there is none with this id
 */
function removeProbe(id) {
  expect(typeof id === 'string', 'the id of a probe is a string', id);
  realm.settleDoors();
  // What it has counted and measured is handed over while it is known.
  realm.report();
  const found = addon.removeProbe(id);
  realm.pump();
  return found;
}

/**
 * Waits until everything captured so far has left the process.
 * @param {number} [seconds] how long that may take
 * @returns {Promise<boolean>} false if it took longer, or something was lost: `stats()` says why
 */
async function flush(seconds = 2) {
  isTime(seconds);
  realm.report();
  return addon.flush(seconds);
}

/** What every probe is doing, with a reason where there is one; after `stop()`, what it did. */
function status() {
  realm.settleDoors();
  realm.report();
  return parse(addon.status());
}

/**
 * Says why a probe did or did not fire.
 * @param {string} id
 * @returns {string[]} sentences
 */
function explain(id) {
  expect(typeof id === 'string', 'the id of a probe is a string', id);
  realm.settleDoors();
  realm.report();
  const said = addon.explain(id);
  if (said === null) throw new Unknown(`no probe has the id ${id}: status() has those that there are`);
  return said;
}

/** Hits, events and uploads of all probes together, with what was lost, by reason; after `stop()` too. */
function stats() {
  realm.report();
  return parse(addon.stats());
}

const version = addon.version();

module.exports = { addProbe, explain, flush, removeProbe, start, stats, status, stop, version };
