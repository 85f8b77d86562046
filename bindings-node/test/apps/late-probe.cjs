'use strict';

// A program that replaces what our code needs for hits, before it has its first probe.
const strobe = require('../../js/index.cjs');
const { work } = require('./work.cjs');

const kinds = [Map, Set, WeakMap, Array, String, Number, Uint8Array, Uint32Array, Int32Array, Buffer, DataView, Symbol, Error, Math, Atomics, Object.getPrototypeOf(Uint8Array)];
const owners = kinds.flatMap((kind) => [kind, kind.prototype]).filter((owner) => owner !== undefined);
owners.push(require('node:fs'), require('node:path'), require('node:v8'), require('node:vm'), require('node:async_hooks').AsyncLocalStorage.prototype);
const { defineProperty, getOwnPropertyDescriptor, getOwnPropertyNames } = Object;
const names = owners.map(getOwnPropertyNames);
let called = [];
let calls = 0;
const undo = [];
let undone = 0;

function replace(owner, name) {
  const before = getOwnPropertyDescriptor(owner, name);
  if (!before.configurable || typeof before.value !== 'function' || name === 'constructor') return;
  const value = function () {
    called[calls++] = name;
  };
  defineProperty(owner, name, { __proto__: null, ...before, value });
  undo[undone++] = () => defineProperty(owner, name, before);
}

for (let at = 0; at < owners.length; at += 1) for (let each = 0; each < names[at].length; each += 1) replace(owners[at], names[at][each]);
const { Map: OwnMap, DataView: OwnView } = globalThis;
globalThis.Map = globalThis.DataView = undefined;
strobe.addProbe('{"id":"a","type":"LOG_PROBE","where":{"sourceFile":"work.cjs","lines":["4"]},"captureSnapshot":true,"template":"n is {n}"}');
const answer = work(1);
globalThis.Map = OwnMap;
globalThis.DataView = OwnView;
for (let at = undone - 1; at >= 0; at -= 1) undo[at]();
console.log(JSON.stringify([answer, called, strobe.status()[0].hits]));
