// Our own modules. Each is read when it is first asked for, since most are for hits, and a program without a probe has none. They are
// in no cache that the program knows: who looks into `require.cache`, empties it, or has changed how modules are loaded does not
// meet them. What they take of the engine as they begin is what primordials.cjs has kept, however late that is.
'use strict';

const { readFileSync } = require('node:fs');
const { compileFunction } = require('node:vm');

const { apply, defineProperty } = Reflect;
const slice = Function.prototype.call.bind(String.prototype.slice);
const builtin = process.getBuiltinModule ?? require;
const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];

const table = () => ({ __proto__: null });

/** What a table has for a key; a new table if it has nothing. */
function tableOf(of, key) {
  if (of[key] === undefined) defineProperty(of, key, { __proto__: null, value: table() });
  return of[key];
}

/** This thread's modules of this copy of the package. */
const modules = tableOf(tableOf(process, Symbol.for('stroboscope')), __dirname);

/**
 * Asks for a module of ours.
 * @param {string} name of its file
 * @returns what it exports
 */
function own(name) {
  modules[name] ??= run(`${__dirname}/${name}`);
  return modules[name].exports;
}

/** True if nobody has said this before in this thread. */
own.isFirst = (word) => {
  const isFirst = modules[word] === undefined;
  modules[word] = { __proto__: null, exports: null };
  return isFirst;
};

function run(filename) {
  const module = { __proto__: null, exports: {} };
  const body = compileFunction(textOf(filename), parameters, { __proto__: null, filename });
  apply(body, undefined, [module.exports, ask, module, filename, __dirname]);
  return module;
}

/** As soon as the addon is there it is what reads: Node's own way leads through functions that a program can replace. */
function textOf(filename) {
  const addon = modules['addon.cjs'];
  return addon === undefined ? readFileSync(filename, 'utf8') : addon.exports.textOf(filename);
}

/** Their `require`. */
function ask(name) {
  return name[0] === '.' ? own(slice(name, 2)) : builtin(name);
}

ask.cache = require.cache;
ask.resolve = require.resolve;

delete require.cache[__filename];
module.exports = own;
