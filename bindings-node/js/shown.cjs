// Stacks that the program makes itself, as it would see them without us: columns are those of its own text, and frames of ours are
// not there. Whatever formats a stack (Node, with source maps or without, or a function of the program's) takes the sites of calls
// from here; sites whose places have shifted get methods of their own that say where they would be.
'use strict';

const { sep } = require('node:path');
const addon = require('./addon.cjs');
const {
  Error,
  Map,
  WeakMap,
  WeakSet,
  append,
  captureStackTrace,
  codeUnit,
  define,
  descriptorOf,
  endsWith,
  hasOwn,
  indexOf,
  isArray,
  lastIndexOf,
  lookupGetter,
  mapDelete,
  mapEntries,
  mapGet,
  mapSet,
  mapSize,
  nextOfMap,
  slice,
  startsWith,
  uncurried,
  weakMapGet,
  weakMapSet,
  weakSetAdd,
  weakSetHas,
} = require('./primordials.cjs');

const { apply } = Reflect;
const NAME = 'prepareStackTrace';
/** Frames of files below here are ours. */
const own = __dirname + sep;

/** The functions that run variants now, by file: the variants by the keys of their functions, and the list of them all, which is null
 *  until it is asked for. */
const guarded = new Map();

/**
 * A function runs a variant from now on, or itself again. Its guard then is a frame that the program does not know.
 * @param {string} key of the function: its cell, a colon, its number
 * @param {string} file as the engine names it
 * @param {{ name: string, code: string, line: number, text: number, guard: { line: number, from: number, to: number } } | null} variant
 *   columns from 0
 */
function runs(key, file, variant) {
  takeUp();
  const functions = mapGet(guarded, file) ?? { __proto__: null, byKey: new Map(), list: null };
  functions.list = null;
  if (variant === null) mapDelete(functions.byKey, key);
  else mapSet(functions.byKey, key, variant);
  if (mapSize(functions.byKey) === 0) mapDelete(guarded, file);
  else mapSet(guarded, file, functions);
}

/** The variants of a file's functions: each hit asks for them, and going through a map would make an object for each. */
function variantsOf(functions) {
  if (functions.list === null) {
    functions.list = [];
    const all = mapEntries(functions.byKey);
    for (let next = nextOfMap(all); !next.done; next = nextOfMap(all)) append(functions.list, next.value[1]);
  }
  return functions.list;
}

/** What can be asked of the site of a call; null until that is known. */
let read = null;

/** Asks one of the engine's own sites for what it has. */
function look() {
  const holder = {};
  captureStackTrace(holder);
  const { 0: site } = holder.stack;
  read = {
    __proto__: null,
    file: uncurried(site.getFileName),
    name: uncurried(site.getFunctionName),
    methodName: uncurried(site.getMethodName),
    typeName: uncurried(site.getTypeName),
    line: uncurried(site.getLineNumber),
    column: uncurried(site.getColumnNumber),
    enclosingLine: uncurried(site.getEnclosingLineNumber),
    enclosingColumn: uncurried(site.getEnclosingColumnNumber),
    position: uncurried(site.getPosition),
    hash: uncurried(site.getScriptHash),
    isAsync: uncurried(site.isAsync),
    text: uncurried(site.toString),
  };
}

/** Places whose columns are kept here. */
const PLACES = 4096;
const LINES = 2 ** 26;
/** By file and place, the columns in the program's own text. */
let columns = new Map();
let places = 0;

/** A file comes in another text now. */
function forget() {
  takeUp();
  if (places > 0) clear();
}

function clear() {
  columns = new Map();
  places = 0;
}

/** Where a place in a text ({@link addon.column}) stands in the program's own. */
function columnOf(file, text, line, column) {
  if (text !== 0) return addon.column(file, text, line, column);
  if (places >= PLACES) clear();
  let known = mapGet(columns, file);
  if (known === undefined) mapSet(columns, file, (known = new Map()));
  const place = column * LINES + line;
  let found = mapGet(known, place);
  if (found === undefined) {
    found = addon.column(file, text, line, column);
    mapSet(known, place, found);
    places += 1;
  }
  return found;
}

/** The sites that have been looked at: functions that format stacks call each other. */
const done = new WeakSet();

/** Takes ours out of the sites of a stack, and puts the others right. */
function show(sites) {
  if (mapSize(guarded) > 0) return showVariants(sites);
  let kept = 0;
  for (let index = 0; index < sites.length; index += 1) {
    const site = sites[index];
    const file = read.file(site);
    if (isOurs(file)) continue;
    if (isNodes(file)) tellMethod(site);
    else if (!weakSetHas(done, site)) place({ site, file, line: read.line(site), column: read.column(site), text: 0, at: null });
    sites[kept] = site;
    kept += 1;
  }
  sites.length = kept;
}

/** The same while functions run variants. What a guard called is one: it is shown where the guard is, as the call that it was. */
function showVariants(sites) {
  const frames = [];
  for (let index = 0; index < sites.length; index += 1) {
    const site = sites[index];
    const file = read.file(site);
    if (isOurs(file)) continue;
    const isDone = weakSetHas(done, site);
    const functions = isDone ? undefined : mapGet(guarded, file);
    const frame = { site, isDone, file, line: read.line(site), column: read.column(site), text: 0, at: null };
    if (functions !== undefined) {
      // What stands around the body of a variant.
      if (startsWith(read.name(site) ?? '', '$s_')) continue;
      frame.text = textOf(functions, frame);
      if (isGuard(functions, frame, frames)) continue;
    }
    append(frames, frame);
  }
  for (let index = 0; index < frames.length; index += 1) {
    if (isNodes(frames[index].file)) tellMethod(frames[index].site);
    else if (!frames[index].isDone) place(frames[index]);
    sites[index] = frames[index].site;
  }
  sites.length = frames.length;
}

const isOurs = (file) => typeof file === 'string' && startsWith(file, own);

/** The variant among these that a frame is in; 0 if it is in the text that was loaded. */
function textOf(functions, { site, line, column }) {
  const position = read.position(site);
  const variants = variantsOf(functions);
  for (let index = 0; index < variants.length; index += 1) {
    const variant = variants[index];
    // Only where both can be meant it is worth while to look at the whole text.
    const mayBe = position < variant.code.length && startOf(variant.code, line - variant.line) + column - 1 === position;
    if (mayBe && hashOf(variant) === read.hash(site)) return variant.text;
  }
  return 0;
}

/** Where a line of a text begins, lines from 0; far away for one that is not there. */
function startOf(text, line) {
  let at = 0;
  for (let left = line; left > 0; at += 1) {
    if (at >= text.length) return Infinity;
    const unit = codeUnit(text, at);
    if (unit === 10 || (unit === 13 && codeUnit(text, at + 1) !== 10) || unit === 0x2028 || unit === 0x2029) left -= 1;
  }
  return line < 0 ? Infinity : at;
}

/** Of variants, what the engine tells texts apart by. */
const hashes = new WeakMap();

function hashOf(variant) {
  const known = weakMapGet(hashes, variant);
  if (known !== undefined) return known;
  // It is large, and few programs come here.
  const hash = require('node:crypto').createHash('sha256').update(variant.code).digest('hex');
  weakMapSet(hashes, variant, hash);
  return hash;
}

/** True for the frame of a guard, which then is part of that of its variant. */
function isGuard(functions, frame, frames) {
  const { site, text, line, column } = frame;
  // A guard that waits is no call any more, and Node's own code calls what goes on; a generator is called by the engine.
  const waits = read.isAsync(site);
  let last = frames.length - 1;
  if (waits) while (last > 0 && isNodes(frames[last].file)) last -= 1;
  else if (last > 0 && read.typeName(frames[last].site) === 'Generator') last -= 1;
  const above = frames[last];
  if (above === undefined || above.text === 0 || above.at !== null) return false;
  const variant = text === 0 ? variantAt(functions, line, column) : variantOf(functions, addon.guardAt(text, line, column));
  if (variant?.text !== above.text) return false;
  above.at = { text: above.text, line: above.line, column: above.column };
  above.text = text;
  if (waits) return true;
  frames.length = last + 1;
  above.site = site;
  above.line = line;
  above.column = column;
  return true;
}

/** The variant whose guard is at a place. */
function variantAt(functions, line, column) {
  const variants = variantsOf(functions);
  for (let index = 0; index < variants.length; index += 1) {
    const { guard } = variants[index];
    if (guard.line === line && guard.from < column && column <= guard.to) return variants[index];
  }
  return undefined;
}

/** The variant of a function by its number: one that was made while the function around it ran a variant has its guard in that. */
function variantOf(functions, number) {
  const all = mapEntries(functions.byKey);
  for (let next = nextOfMap(all); number !== null && !next.done; next = nextOfMap(all)) {
    if (endsWith(next.value[0], `:${number}`)) return next.value[1];
  }
  return undefined;
}

/** The variant whose guard is at a place of any variant: for those who do not know which text the place is of. */
function variantWithin(functions, line, column) {
  const variants = variantsOf(functions);
  for (let index = 0; index < variants.length; index += 1) {
    const found = variantOf(functions, addon.guardAt(variants[index].text, line, column));
    if (found !== undefined && found !== variants[index]) return found;
  }
  return undefined;
}

const isNodes = (file) => typeof file !== 'string' || startsWith(file, 'node:');

/** Methods of Node's that ours stand in place of, by the names of their functions: the engine finds them on no object any more. In
 *  newer Nodes these have no name but that of the class, and a stack has the method's. */
const methods = new Map();
const NAMELESS = '<anonymous>';

/** A function of ours calls this method of Node's from now on. */
function replaces(functionName, methodName) {
  mapSet(methods, functionName, methodName);
}

function tellMethod(site) {
  if (mapSize(methods) === 0) return;
  const functionName = read.name(site);
  const shownAs = functionName || `${read.typeName(site)}.${NAMELESS}`;
  const name = mapGet(methods, shownAs);
  if (name === undefined || read.methodName(site) !== null) return;
  method(site, 'getMethodName', () => name);
  if (functionName) return;
  method(site, 'toString', () => {
    const words = read.text(site);
    const from = indexOf(words, NAMELESS);
    return from < 0 ? words : slice(words, 0, from) + name + slice(words, from + NAMELESS.length);
  });
}

/** Gives a site methods of its own if it stands elsewhere in the program's text. */
function place({ site, file, line, column, text, at }) {
  if (typeof line !== 'number' || typeof column !== 'number') return;
  const now = at ?? { text, line, column };
  const lineNow = now.line;
  const columnNow = columnOf(file, now.text, now.line, now.column);
  const isThere = lineNow === line && columnNow === column;
  // Where functions begin is asked with source maps only.
  if (isThere && !process.sourceMapsEnabled) return;
  const begins = read.enclosingColumn(site);
  const beginsNow = columnOf(file, text, read.enclosingLine(site), begins);
  if (isThere && begins === beginsNow) return;
  weakSetAdd(done, site);
  if (begins !== beginsNow) method(site, 'getEnclosingColumnNumber', () => beginsNow);
  if (isThere) return;
  if (lineNow !== line) method(site, 'getLineNumber', () => lineNow);
  method(site, 'getColumnNumber', () => columnNow);
  method(site, 'toString', () => {
    const words = read.text(site);
    const place = `:${line}:${column}`;
    const from = lastIndexOf(words, place);
    return from < 0 ? words : `${slice(words, 0, from)}:${lineNow}:${columnNow}${slice(words, from + place.length)}`;
  });
}

function method(site, name, value) {
  define(site, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

/** What Node gets in place of a function in the property. */
const wrappers = new WeakMap();

const handler = {
  __proto__: null,
  apply(prepare, receiver, given) {
    isAsked = false;
    if (isArray(given[1])) {
      try {
        show(given[1]);
      } catch {
        // It is no stack of the engine's: whoever calls knows what it is.
      }
    }
    isInside = true;
    try {
      return apply(prepare, receiver, given);
    } finally {
      isInside = false;
    }
  },
};

/** The function with which a stack is formatted, given what the program may see. */
function wrapper(prepare) {
  const known = weakMapGet(wrappers, prepare);
  if (known !== undefined) return known;
  const made = new Proxy(prepare, handler);
  weakMapSet(wrappers, prepare, made);
  return made;
}

const isFunction = (value) => typeof value === 'function';

const holder = { __proto__: null, stack: undefined };
/** What the property has for the engine while a stack is ours; else null. */
let taker = null;
/** Node has read it, and calls what it got as soon as it has read it once more. */
let isAsked = false;
/** What the program has put there runs: whatever reads the property now is the program. */
let isInside = false;
const sitesOf = (_, sites) => sites;

/** True while a stack is being formatted, as when Node reads the property: the engine then asks nobody about a second one, and gives
 *  its text. At all other times the program reads it, and gets what it has put there: it may look whether that is there still. */
function isFormatting(callee) {
  taker = sitesOf;
  try {
    captureStackTrace(holder, callee);
    return typeof holder.stack === 'string';
  } catch {
    return false;
  } finally {
    taker = null;
  }
}

/** What reads the property, once it stands there. */
let getter = null;

/** From now on the engine hands stacks to this function, and to what the program has put there once that is null. False: the program
 *  has put something else in place of our property. */
function handTo(take) {
  if (getter === null || lookupGetter(Error, NAME) !== getter) return false;
  taker = take;
  return true;
}

/** What the program has put into the property. */
let prepare = sitesOf;
/** What formats a stack if that is no function: it leaves it to Node. */
let nodes = null;

function get() {
  if (taker !== null) return taker;
  isAsked ||= read !== null && !isInside && isFormatting(get);
  if (!isAsked) return prepare;
  return wrapper(isFunction(prepare) ? prepare : nodes);
}

function set(value) {
  // Classes of errors may have one of their own.
  if (this !== Error) define(this, NAME, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  else prepare = value;
}

const stand = (enumerable) => define(Error, NAME, { __proto__: null, get, set, enumerable, configurable: true });

/** From now on stacks are shown as the program's own, where it lets `Error` be changed. Nodes that keep to themselves how stacks are
 *  formatted show places as they are in the text that runs. */
function install() {
  const before = descriptorOf(Error, NAME);
  if (!isFunction(before?.value) || !before.configurable) return;
  nodes = before.value;
  stand(before.enumerable);
  look();
  prepare = nodes;
  getter = get;
}

/** The program may have deleted the property, or defined it anew: ours stands there again, and gives what the program has put there.
 *  Where it wants a property of another kind it has one. */
function takeUp() {
  if (getter === null || lookupGetter(Error, NAME) === getter) return;
  const now = descriptorOf(Error, NAME) ?? { __proto__: null, value: undefined, writable: true, enumerable: false, configurable: true };
  if (!hasOwn(now, 'value') || !now.writable || !now.configurable) return;
  if (stand(now.enumerable)) prepare = now.value;
}

module.exports = { forget, guarded, handTo, install, own, read: () => read, replaces, runs, show, variantAt, variantWithin, variantsOf };
