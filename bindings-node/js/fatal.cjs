// An exception that nobody catches. Above its stack Node prints the line in which it was thrown, of the text that runs: where a
// function begins there, that would be the line with its guard. Nobody can ask where that was; Node itself asks where a place
// comes from, as it prints, if there is a source map. So when the program has come to its end, each module with guards gets one,
// whose answer we give. That Node asks, their texts end with an address (`units.rs`).
'use strict';

const { writeSync } = require('node:fs');
const Module = require('node:module');
const { pathToFileURL } = require('node:url');
const { runInNewContext } = require('node:vm');
const { threadId } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { WeakSet, codeUnit, define, types, uncurried, weakSetAdd, weakSetHas } = require('./primordials.cjs');

const { isNativeError } = types;
const { apply, set } = Reflect;
const { _compile: compile } = Module.prototype;
const on = uncurried(process.on);
const listenerCount = uncurried(process.listenerCount);
const STANDARD_ERROR = 2;
const TAB = 9;

/** A module of nothing that has a map of nothing. */
const map = Buffer.from('{"version":3,"sources":["nothing"],"names":[],"mappings":"AAAA"}').toString('base64');
const mapped = `//# ${'source'}MappingURL=data:application/json;base64,${map}`;

/** From now on Node shows the program's own line. */
function install() {
  process.on('uncaughtExceptionMonitor', (error) => {
    // Then somebody catches it.
    if (listenerCount(process, 'uncaughtException') > 0) return;
    // All of the program that runs at its end has run by then.
    if (process._exiting) prepare(error);
    else on(process, 'exit', () => prepare(error));
  });
}

function prepare(error) {
  try {
    // It is made before there are maps, as the program has it.
    if (isNativeError(error)) void error.stack;
    const files = addon.guardedFiles(threadId);
    process.setSourceMapsEnabled(true);
    for (let at = 0; at < files.length; at += 1) give(files[at]);
    answer(error, files);
  } catch {
    // The program ends with this exception, and no other: Node prints the line as it runs.
  }
}

/** The modules whose maps are ours. */
const given = new WeakSet();

/** Gives a module a map unless it has one of its own that is looked at. */
function give(file) {
  if (Module.findSourceMap(file.path) !== undefined) return;
  weakSetAdd(given, file);
  const module = new Module(file.path);
  module.filename = file.path;
  apply(compile, module, [mapped, file.path]);
}

/** From now on we are who is asked. */
function answer(error, files) {
  const { prototype } = Module.SourceMap;
  const { findEntry } = prototype;
  const value = function (line, column) {
    const file = fileOf(this, files);
    if (file === undefined) return apply(findEntry, this, [line, column]);
    const columnNow = addon.column(file.path, 0, line + 1, column + 1) - 1;
    return weakSetHas(given, file) ? show(error, file, line, columnNow) : apply(findEntry, this, [line, columnNow]);
  };
  define(prototype, 'findEntry', { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

function fileOf(map, files) {
  for (let at = 0; at < files.length; at += 1) if (Module.findSourceMap(files[at].path) === map) return files[at];
  return undefined;
}

/** Prints the line as Node does, lines and columns from 0, and answers where it comes from: of what is no error Node prints that. */
function show(error, { path, isModule }, line, column) {
  const { href } = pathToFileURL(path);
  const text = addon.lineOf(path, line + 1);
  if (text === null || !isNativeError(error)) return { originalSource: href, originalLine: line, originalColumn: column };
  let above = '';
  for (let at = 0; at < column; at += 1) above += codeUnit(text, at) === TAB ? '\t' : ' ';
  keepQuiet(error);
  writeSync(STANDARD_ERROR, `${isModule ? href : path}:${line + 1}\n${text}\n${above}^\n\n`);
  return {};
}

/** Has Node print no line above this error: one that has passed a script of its own has that in its stack. */
function keepQuiet(error) {
  const { stack } = error;
  try {
    runInNewContext('throw error', { __proto__: null, error });
  } catch {
    // One that is frozen has kept it.
    set(error, 'stack', stack);
  }
}

module.exports = { install };
