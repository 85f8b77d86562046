// Code that the program compiles itself, by `vm`: it gets guards as a module does, if it is said to be of a file. A *home* is
// where such code runs: this thread's own globals, or a context with globals of its own, such as each test of Jest has. There a
// cell is a variable that no object of the program shows, and a variant is compiled once more. Beside `realm.cjs`, which knows
// what belongs into the cells.
'use strict';

const path = require('node:path');
const { fileURLToPath } = require('node:url');
const vm = require('node:vm');
const { isCounted } = require('./counted.cjs');
const {
  WeakMap, append, define, descriptorOf, freeze, isArray, prototypeOf, startsWith, types, uncurried, weakMapGet, weakMapSet,
} = require('./primordials.cjs');

const { apply, construct } = Reflect;
const { isAbsolute } = path;
const { Script } = vm;
const runInThisContext = uncurried(Script.prototype.runInThisContext);
const runInContext = uncurried(Script.prototype.runInContext);
const target = uncurried(WeakRef.prototype.deref);
const Finalization = FinalizationRegistry;
const watchOver = uncurried(FinalizationRegistry.prototype.register);
const Weak = WeakRef;

const table = () => ({ __proto__: null });
const bare = freeze(table());

/** This thread's own globals. */
const own = freeze({
  cells: table(),
  declare(name) {
    holders[name] = Infinity;
    if (define(globalThis, name, { __proto__: null, value: undefined, writable: true, enumerable: false, configurable: false })) {
      return (value) => { globalThis[name] = value; };
    }
    throw new TypeError(`the program lets nobody define '${name}'`);
  },
  run: (script) => runInThisContext(script, bare),
  global: globalThis,
  Failure: TypeError,
});

/** Those of contexts, by the objects that stand for them; none of them is kept alive by us. */
const homes = new WeakMap();
let known = [];

/** What a context says of itself. */
const introduction = new Script('(() => { try { null.x } catch (error) { return [this, error] } })()');

/** The home of a context; what is none has none. */
function homeOf(context) {
  if (context === undefined) return own;
  const found = weakMapGet(homes, context);
  if (found !== undefined) return found;
  // Not as an array is taken apart: that asks its iterator, which may be the program's.
  const { 0: global, 1: error } = runInContext(introduction, context, bare);
  const home = freeze({
    cells: table(),
    declare(name) {
      hold(context, name);
      return runInContext(new Script(`let ${name};(value)=>{${name}=value}`), context, bare);
    },
    run: (script) => runInContext(script, context, bare),
    global,
    Failure: descriptorOf(prototypeOf(error), 'constructor').value,
  });
  weakMapSet(homes, context, home);
  append(known, new Weak(context));
  return home;
}

/** The homes that have a cell. */
function homesOf(cell) {
  const found = [];
  const alive = [];
  if (own.cells[cell] !== undefined) append(found, own);
  for (let at = 0; at < known.length; at += 1) {
    const context = target(known[at]);
    if (context === undefined) continue;
    append(alive, known[at]);
    const home = weakMapGet(homes, context);
    if (home.cells[cell] !== undefined) append(found, home);
  }
  known = alive;
  return found;
}

/** How many objects have code of each cell: contexts in which it runs, and scripts that may run again. */
const holders = table();
/** What was made for code that is gone may go. */
let forget = () => {};
const ends = new Finalization((cell) => {
  holders[cell] -= 1;
  if (holders[cell] > 0) return;
  delete holders[cell];
  forget(cell);
});

function hold(object, cell) {
  holders[cell] = (holders[cell] ?? 0) + 1;
  watchOver(ends, object, cell);
}

/** What an option is, without asking the program's code; what is not there is `undefined`. */
function given(options, name) {
  if (typeof options !== 'object' || options === null || types.isProxy(options)) return undefined;
  return descriptorOf(options, name)?.value;
}

/** The file that a text is said to be of, as a path; null: of none. */
function fileOf(name) {
  if (typeof name !== 'string') return null;
  try {
    if (startsWith(name, 'file:')) return fileURLToPath(name);
  } catch {
    return null;
  }
  return isAbsolute(name) ? name : null;
}

/** Why a text has to stay as it is; null: it need not. */
function whyNot(options) {
  if (isCounted) return 'coverage is being measured, and would count guards';
  if (given(options, 'cachedData') !== undefined || given(options, 'produceCachedData')) {
    return 'the program compiles it with a code cache (vm), which goes with the text as it is';
  }
  if (given(options, 'lineOffset')) return 'the program counts its lines from elsewhere (vm, lineOffset)';
  const extensions = given(options, 'contextExtensions');
  return extensions === undefined || extensions.length === 0 ? null : 'it is compiled among names of objects (vm, contextExtensions)';
}

/** A copy of a list of texts; null for what is none. */
function copied(list) {
  if (list === undefined) return [];
  if (!isArray(list) || types.isProxy(list)) return null;
  const copy = [];
  for (let at = 0; at < list.length; at += 1) {
    if (typeof descriptorOf(list, at)?.value !== 'string') return null;
    append(copy, list[at]);
  }
  return copy;
}

/** The cells of scripts that wait for the context they are to run in. */
const cellsOf = new WeakMap();

/**
 * Puts guards into what the program compiles from now on.
 * @param {object} realm
 * @param {(path: string, name: string, text: string, how: object) => { code: string, cell: string } | null} realm.load puts guards
 *   into a text
 * @param {(path: string, why: string) => void} realm.leave says why one has none
 * @param {(cell: string, home: object) => void} realm.enter makes the cell there is in a home, before its code runs
 * @param {(cell: string) => void} realm.forget
 * @param {(error: unknown) => void} realm.failed
 */
function install(realm) {
  forget = realm.forget;

  /** What is compiled as it is, and why: that is told once it is there, for then a debugger finds it. */
  let left = null;

  function run(compile, self, words) {
    try {
      return apply(compile, self, words);
    } finally {
      tell();
    }
  }

  function tell() {
    if (left === null) return;
    const { file, why } = left;
    left = null;
    try {
      realm.leave(file, why);
    } catch (error) {
      realm.failed(error);
    }
  }

  /** The text with guards; null: as it is. What fails in here is no business of the program. */
  function guarded(text, name, options, how) {
    const file = fileOf(name);
    if (file === null || typeof text !== 'string') return null;
    try {
      const why = whyNot(options);
      if (why === null) return realm.load(file, name, text, how);
      left = { file, why };
      return null;
    } catch (error) {
      realm.failed(error);
      return null;
    }
  }

  /** The same, of what runs in a context. */
  function guardedIn(context, text, name, options, how) {
    if (fileOf(name) === null || !hasHome(context)) return text;
    const made = guarded(text, name, options, context === undefined ? how : apart(how));
    if (made === null) return text;
    return entered(made.cell, context) ? made.code : text;
  }

  /** False for what is no context: Node says so. */
  function hasHome(context) {
    try {
      return homeOf(context) !== null;
    } catch {
      return false;
    }
  }

  /** The cell is there, where the code that asks for it is about to run. */
  function entered(cell, context) {
    if (!hasHome(context)) return false;
    try {
      realm.enter(cell, homeOf(context));
      return true;
    } catch (error) {
      realm.failed(error);
      return false;
    }
  }

  const nameIn = (options) => (typeof options === 'string' ? options : given(options, 'filename'));
  const script = { kind: 'script', parameters: [], isApart: false };
  const apart = (how) => ({ ...how, isApart: true });

  function replace(object, name, make) {
    const before = descriptorOf(object, name);
    if (typeof before?.value !== 'function') return;
    define(object, name, { __proto__: null, ...before, value: make(before.value) });
  }

  replace(vm, 'Script', (original) => {
    const Replaced = new Proxy(original, {
      __proto__: null,
      construct(target, words, newTarget) {
        const { 0: text, 1: options } = words;
        const made = guarded(text, nameIn(options), options, apart(script));
        const all = made === null ? words : [made.code, options];
        const result = run(() => construct(target, all, newTarget === Replaced ? target : newTarget), null, []);
        if (made === null) return result;
        weakMapSet(cellsOf, result, made.cell);
        hold(result, made.cell);
        return result;
      },
    });
    return Replaced;
  });

  const { prototype } = Script;
  /** The cell of what runs next, in a context that Node makes for it. */
  let next = null;
  const enter = (made, context) => {
    const cell = weakMapGet(cellsOf, made);
    if (cell !== undefined) entered(cell, context);
  };
  replace(prototype, 'runInThisContext', (original) => function runInThisContext() {
    enter(this, undefined);
    return apply(original, this, arguments);
  });
  replace(prototype, 'runInContext', (original) => function runInContext(context) {
    if (next !== null) entered(next, context);
    next = null;
    enter(this, context);
    return apply(original, this, arguments);
  });

  replace(vm, 'runInThisContext', (original) => function runInThisContext(code, options) {
    return run(original, this, [guardedIn(undefined, code, nameIn(options), options, script), options]);
  });
  replace(vm, 'runInContext', (original) => function runInContext(code, context, options) {
    return run(original, this, [guardedIn(context, code, nameIn(options), options, script), context, options]);
  });
  replace(vm, 'runInNewContext', (original) => function runInNewContext(code, context, options) {
    const made = guarded(code, nameIn(options), options, apart(script));
    next = made?.cell ?? null;
    try {
      return run(original, this, [made?.code ?? code, context, options]);
    } finally {
      next = null;
    }
  });
  replace(vm, 'compileFunction', (original) => function compileFunction(code, parameters, options) {
    const names = copied(parameters);
    if (names === null) return apply(original, this, arguments);
    const how = { kind: 'function', parameters: names, isApart: false };
    const text = guardedIn(given(options, 'parsingContext'), code, given(options, 'filename'), options, how);
    return run(original, this, text === code ? arguments : [text, parameters, options]);
  });
  replace(vm, 'SourceTextModule', (original) => {
    const Replaced = new Proxy(original, {
      __proto__: null,
      construct(target, words, newTarget) {
        const { 0: code, 1: options } = words;
        const how = { kind: 'module', parameters: [], isApart: false };
        const text = guardedIn(given(options, 'context'), code, given(options, 'identifier'), options, how);
        return run(() => construct(target, [text, options], newTarget === Replaced ? target : newTarget), null, []);
      },
    });
    return Replaced;
  });
}

module.exports = { homesOf, install, own };
