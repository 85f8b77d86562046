// What a program calls.
'use strict';

const addon = require('./addon.cjs');
const begin = require('./begin.cjs');
const realm = require('./realm.cjs');
const { shortcomings } = require('./words.cjs');

const { parse, stringify } = JSON;

/**
 * Starts. Settings are those of the documentation, in camel case; they go before the environment.
 * @param {import('../index.d.ts').Settings} [settings]
 * @returns {string[]} settings and probe files that could not be used, or why it is off
 */
function start(settings = {}) {
  return [...begin.start(settings, 'program'), ...shortcomings()];
}

/**
 * Delivers what was captured and stops.
 * @param {number} [seconds] how long that may take
 * @returns {Promise<boolean>} false if something captured did not arrive
 */
async function stop(seconds = 2) {
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
  const found = addon.removeProbe(id);
  realm.pump();
  return found;
}

/**
 * Waits until everything captured so far has left the process.
 * @param {number} [seconds] how long that may take
 * @returns {Promise<boolean>} false if it took longer, or something was lost: `stats()` says why
 */
function flush(seconds = 2) {
  realm.report();
  return addon.flush(seconds);
}

/** What every probe is doing, with a reason where there is one; after `stop()`, what it did. */
function status() {
  realm.report();
  return parse(addon.status());
}

/** Hits, events and uploads of all probes together, with what was lost, by reason; after `stop()` too. */
function stats() {
  realm.report();
  return parse(addon.stats());
}

const version = addon.version();

module.exports = { addProbe, flush, removeProbe, start, stats, status, stop, version };
