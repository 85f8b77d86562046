// `util.getCallSites` of newer Nodes, which asks the engine past all that formats stacks: it gives the frames that the program would
// see without us, by the rules of shown.cjs, in columns of its own text.
'use strict';

const Module = require('node:module');
const util = require('node:util');
const { Error, append, captureStackTrace, define, descriptorOf, hasOwn, isArray, isInteger, types, uncurried } = require('./primordials.cjs');
const shown = require('./shown.cjs');

const { apply } = Reflect;
const NAME = 'getCallSites';
const LIMIT = 'stackTraceLimit';
/** The most frames that it gives, and those that it gives if it is not told how many. */
const MOST = 200;
const USUAL = 10;

const holder = { __proto__: null, stack: undefined };
let taken = null;

function take(_, sites) {
  taken = sites;
  return '';
}

/** The engine's sites from the caller of a function on; null where they cannot be had. */
function sitesFrom(callee) {
  const before = descriptorOf(Error, LIMIT);
  if (before === undefined || !hasOwn(before, 'value') || !before.writable || !shown.handTo(take)) return null;
  taken = null;
  Error[LIMIT] = MOST;
  try {
    captureStackTrace(holder, callee);
    // It is made when it is first read.
    void holder.stack;
  } finally {
    shown.handTo(null);
    Error[LIMIT] = before.value;
  }
  return taken;
}

/** What is asked for; null: Node says what is wrong with it. */
function wish(words) {
  const isAlone = words[1] === undefined && typeof words[0] === 'object';
  const count = isAlone ? USUAL : words[0] ?? USUAL;
  const options = isAlone ? words[0] : words[1];
  if (!isInteger(count) || count < 1 || count > MOST) return null;
  if (options === undefined) return { count, isMapped: undefined };
  if (typeof options !== 'object' || options === null || isArray(options) || types.isProxy(options)) return null;
  const isMapped = descriptorOf(options, 'sourceMap')?.value;
  return isMapped === undefined || typeof isMapped === 'boolean' ? { count, isMapped } : null;
}

/** Puts a frame elsewhere. The column has two names in some Nodes. */
function move(frame, line, column) {
  frame.lineNumber = line;
  if (hasOwn(frame, 'column')) frame.column = column;
  if (hasOwn(frame, 'columnNumber')) frame.columnNumber = column;
}

const columnOf = (frame) => frame.columnNumber ?? frame.column;

/** Puts a frame into what its file was compiled of, as Node does. */
function lead(frame, findEntry) {
  const map = Module.findSourceMap(frame.scriptName);
  if (map === undefined) return;
  const entry = findEntry(map, frame.lineNumber - 1, columnOf(frame) - 1);
  if (!entry.originalSource) return;
  frame.functionName = entry.name || frame.functionName;
  frame.scriptName = entry.originalSource;
  delete frame.scriptId;
  move(frame, entry.originalLine + 1, entry.originalColumn + 1);
}

/** From now on the program's frames are its own. */
function install() {
  const before = descriptorOf(util, NAME);
  const read = shown.read();
  if (typeof before?.value !== 'function' || !before.configurable || read === null) return;
  const byDefault = process.sourceMapsEnabled;
  const findEntry = uncurried(Module.SourceMap.prototype.findEntry);

  /** Those of the engine's frames that are the program's. */
  function own(frames, sites, count) {
    const kept = [];
    shown.show(sites);
    let at = 0;
    for (let index = 0; index < sites.length && kept.length < count; index += 1) {
      const site = sites[index];
      let found = at;
      while (found < frames.length && !isAt(frames[found], site)) found += 1;
      // Functions that wait for others are none of the engine's frames.
      if (found === frames.length) continue;
      at = found + 1;
      move(frames[found], site.getLineNumber(), site.getColumnNumber());
      append(kept, frames[found]);
    }
    return kept;
  }

  const isAt = (frame, site) => frame.lineNumber === read.line(site) && columnOf(frame) === read.column(site);

  const handler = {
    __proto__: null,
    apply(getCallSites, receiver, words) {
      const wanted = wish(words);
      const sites = wanted && sitesFrom(handler.apply);
      if (sites === null) return apply(getCallSites, receiver, words);
      const kept = own(apply(getCallSites, receiver, [MOST, { __proto__: null, sourceMap: false }]), sites, wanted.count);
      for (let index = 0; index < kept.length && (wanted.isMapped ?? byDefault); index += 1) lead(kept[index], findEntry);
      return kept;
    },
  };
  define(util, NAME, { __proto__: null, ...before, value: new Proxy(before.value, handler) });
}

module.exports = { install };
