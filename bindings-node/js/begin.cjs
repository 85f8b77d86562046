// Starts the session in this process: for the program, the preload and the command. What only JavaScript knows of the process
// is said here.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { fileURLToPath } = require('node:url');
const addon = require('./addon.cjs');
const load = require('./load.cjs');
const { now } = require('./primordials.cjs');
const realm = require('./realm.cjs');

/** Settings as the addon takes them: option names and their texts. `undefined` and `null` leave one to the environment. */
function options(settings) {
  return Object.keys(settings)
    .filter((name) => settings[name] !== undefined && settings[name] !== null)
    .map((name) => [name, setting(name, settings[name])]);
}

/** The text of a setting; one that does not take what is given is refused. */
function setting(name, value) {
  const { kind, parts } = given(value);
  try {
    return addon.setting(name, kind, parts);
  } catch (error) {
    throw new TypeError(error.message);
  }
}

/** What is given for a setting, in the words of the addon, and its texts. */
function given(value) {
  if (isText(value)) return { kind: kinds[typeof value], parts: [text(value)] };
  if (Array.isArray(value) || value instanceof Set) {
    const parts = [...value];
    return parts.every(isText) ? { kind: 'list', parts: parts.map(text) } : { kind: 'a list of something else', parts: [] };
  }
  if (typeof value !== 'object') return { kind: `a ${typeof value}`, parts: [] };
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value))) return { kind: 'an object of a class', parts: [] };
  const keys = Object.keys(value);
  if (!keys.every((key) => isText(value[key]))) return { kind: 'a table of something else', parts: [] };
  return { kind: 'table', parts: keys.map((key) => `${key}:${text(value[key])}`) };
}

/** What texts stand for, in the words of the addon. */
const kinds = { string: 'text', object: 'text', number: 'number', bigint: 'number', boolean: 'truth' };

const isText = (value) => value instanceof URL || ['string', 'number', 'boolean', 'bigint'].includes(typeof value);

function text(value) {
  if (!(value instanceof URL)) return String(value).toWellFormed();
  return value.protocol === 'file:' ? fileURLToPath(value) : value.href;
}

function facts(by, first, keep, told) {
  const main = process.argv[1] ? path.resolve(process.argv[1]) : '';
  return {
    by,
    first,
    noColor: Boolean(process.env.NO_COLOR),
    keep,
    mute: false,
    runtimeId: addon.uuid(),
    main,
    folder: folder(),
    package: packageName(main),
    streams: told.streams,
    tally: told.tally,
    vendor: Object.keys(require.cache).some((file) => /dd-trace[\\/]src[\\/]debugger[\\/]index\.js$/.test(file)),
  };
}

const utcOffset = () => -new Date().getTimezoneOffset() * 60;

function folder() {
  try {
    return process.cwd();
  } catch {
    return ''; // it is gone
  }
}

/** The name of the package that the main script belongs to. */
function packageName(main) {
  try {
    for (let at = path.dirname(main); main !== '' && at !== path.dirname(at); at = path.dirname(at)) {
      const file = path.join(at, 'package.json');
      if (existsSync(file)) return String(JSON.parse(readFileSync(file, 'utf8')).name ?? '');
    }
  } catch {
    // What is wrong with it is the program's business; above the program's folder Node's permission model may deny even to look.
  }
  return '';
}

/**
 * Starts.
 * @param {object} settings by option name
 * @param {'program' | 'preload' | 'command'} by
 * @param {{ streams?: string, tally?: string }} told what processes of a run tell each other, in the addon's words
 * @returns {string[]} remarks
 */
function start(settings, by, first = true, keep = false, told = {}) {
  load.install(by !== 'program');
  const remarks = addon.start(options(settings), facts(by, first, keep, told), utcOffset);
  settle(null);
  return remarks;
}

/** How long that may take if a debugger has to be there first. */
const SETTLE_MILLISECONDS = 3000;

/** Waits until it is known what becomes of a probe, or of all. If one goes into functions only, nobody waits before one of them is
 *  called: many that come together are placed together. */
function settle(id) {
  realm.prepare();
  const awaited = id === null ? null : addon.awaited(realm.threadId, id);
  if (awaited !== null) return realm.awaitIn(awaited.cells, awaited.slot);
  const end = now() + SETTLE_MILLISECONDS;
  do realm.pump();
  while (!addon.settled(realm.threadId, id) && now() < end);
}

module.exports = { settle, start };
