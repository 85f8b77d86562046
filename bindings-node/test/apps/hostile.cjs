'use strict';

// A program that takes the engine apart before the modules with probes are loaded, and counts who calls what it has put there.
const types = [Map, Set, WeakMap, WeakSet, Array, String, Promise, Object, Function, RegExp, Date, Number, Error, Symbol, BigInt,
  Buffer, DataView, Uint8Array, Object.getPrototypeOf(Uint8Array), Int32Array, ArrayBuffer];
const iterators = [[][Symbol.iterator](), new Map()[Symbol.iterator](), new Set()[Symbol.iterator](), ''[Symbol.iterator]()];
const spaces = { Object, Reflect, JSON, Math, Atomics, Array, Number, String, Error, Promise, Date, BigInt };
const objects = Object.prototype;
const vm = require('node:vm');
const [define, namesOf, descriptorOf] = [Object.defineProperty, Object.getOwnPropertyNames, Object.getOwnPropertyDescriptor];

const called = [];
let count = 0;
const undo = [];
let undone = 0;
const note = (name) => function (...words) {
  called[count] = name;
  count += 1;
  return new.target ? undefined : words[0];
};

function replace(owner, name, label) {
  const before = descriptorOf(owner, name);
  if (!before.configurable || typeof before.value !== 'function') return;
  define(owner, name, { __proto__: null, value: note(label), configurable: before.configurable, writable: before.writable, enumerable: before.enumerable });
  undo[undone++] = () => define(owner, name, before);
}

function takeApart() {
  const owners = [...types.map((type) => [type.prototype, `${type.name}.prototype`]), ...iterators.map((one) => [Object.getPrototypeOf(one), 'iterator'])];
  owners.push([vm.Script.prototype, 'vm.Script.prototype'], ...Object.entries(spaces).map(([name, space]) => [space, name]));
  const found = owners.flatMap(([owner, label]) => [...namesOf(owner), Symbol.iterator].filter((name) => name in owner && descriptorOf(owner, name)).map((name) => [owner, name, `${label}.${String(name)}`]));
  const names = ['Map', 'Set', 'WeakMap', 'Promise', 'JSON', 'Error', 'TypeError', 'Reflect', 'Atomics', 'Uint8Array', 'String', 'performance', 'Object'];
  for (const name of names) {
    const before = descriptorOf(globalThis, name);
    undo[undone++] = () => define(globalThis, name, before);
  }
  const polluted = ['variant', 'hits', 'slot', 'rests', 'code', 'captures', 'setup', 'message'];
  for (let at = 0; at < found.length; at += 1) {
    const one = found[at];
    if (one[1] !== 'constructor') replace(one[0], one[1], one[2]);
  }
  for (let at = 0; at < polluted.length; at += 1) objects[polluted[at]] = note(`Object.prototype.${polluted[at]}`);
  undo[undone++] = () => {
    for (let at = 0; at < polluted.length; at += 1) delete objects[polluted[at]];
  };
  for (let at = 0; at < names.length; at += 1) delete globalThis[names[at]];
}

/** Puts all of it back, the last thing first. */
function putBack() {
  for (let at = undone - 1; at >= 0; at -= 1) undo[at]();
}

const value = new Map([['list', [1, 'two', { three: 3 }]], ['date', new Date(0)], ['bytes', new Uint8Array(3)]]);
let answer;
// The loader of newer Nodes does not bear it.
const loaded = Number.parseInt(process.versions.node, 10) < 22 ? null : require('./late.cjs');
takeApart();
try {
  answer = (loaded ?? require('./late.cjs')).late(value);
} finally {
  putBack();
}
console.log(JSON.stringify([answer, ...new Set(called)]));

