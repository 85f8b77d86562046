// Starts the session in this process: for the program, the preload and the command. What only JavaScript knows of the process
// is said here.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const path = require('node:path');
const addon = require('./addon.cjs');
const load = require('./load.cjs');
const { now } = require('./primordials.cjs');
const realm = require('./realm.cjs');

/** Settings as the addon takes them: option names and their texts. `undefined` and `null` leave one to the environment. */
function options(settings) {
  return Object.entries(settings)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, text(value).toWellFormed()]);
}

function text(value) {
  if (Array.isArray(value)) return value.map(String).join(',');
  if (value instanceof URL) return value.href;
  if (typeof value !== 'object') return String(value);
  return Object.entries(value).map(([key, part]) => `${key}:${part}`).join(',');
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
    utcOffset: -new Date().getTimezoneOffset() * 60,
    streams: told.streams,
    tally: told.tally,
    vendor: Object.keys(require.cache).some((file) => /dd-trace[\\/]src[\\/]debugger[\\/]index\.js$/.test(file)),
  };
}

function folder() {
  try {
    return process.cwd();
  } catch {
    return ''; // it is gone
  }
}

/** The name of the package that the main script belongs to. */
function packageName(main) {
  for (let at = path.dirname(main); main !== '' && at !== path.dirname(at); at = path.dirname(at)) {
    const file = path.join(at, 'package.json');
    if (!existsSync(file)) continue;
    try {
      return String(JSON.parse(readFileSync(file, 'utf8')).name ?? '');
    } catch {
      return ''; // what is wrong with it is the program's business
    }
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
  const remarks = addon.start(options(settings), facts(by, first, keep, told));
  settle(null);
  return remarks;
}

/** How long that may take if a debugger has to be there first. */
const SETTLE_MILLISECONDS = 3000;

/** Waits until it is known what becomes of a probe, or of all. */
function settle(id) {
  realm.prepare();
  const end = now() + SETTLE_MILLISECONDS;
  do realm.pump();
  while (!addon.settled(realm.threadId, id) && now() < end);
}

module.exports = { settle, start };
