// What the engine offers, taken before the program can change it. Nothing of ours looks any of it up again: a program that
// replaces `Map.prototype.get` or deletes a property of `globalThis` changes nothing in a hit.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const { types } = require('node:util');
const { getHeapSpaceStatistics, getHeapStatistics } = require('node:v8');

const { hrtime } = process;
const { bind, call } = Function.prototype;

/** A method as a function of its receiver. */
const uncurried = bind.bind(call);

const getterOf = (of, name) => uncurried(Reflect.getOwnPropertyDescriptor(of, name).get);
const prototypeOf = Reflect.getPrototypeOf;

const TypedArray = prototypeOf(Uint8Array);
const iterators = {
    __proto__: null,
    Array: prototypeOf([][Symbol.iterator]()),
    Map: prototypeOf(new Map()[Symbol.iterator]()),
    Set: prototypeOf(new Set()[Symbol.iterator]()),
    String: prototypeOf(''[Symbol.iterator]()),
    RegExpString: prototypeOf(''.matchAll(/./g)),
};
const Iterator = prototypeOf(iterators.Array);
const AsyncIterator = prototypeOf(prototypeOf(prototypeOf((async function* () {})())));

const { defineProperty: define } = Reflect;

/** Adds to a list, whatever the program has made of the prototypes of lists. The element is like any other: one that cannot be
 *  configured makes reading all of them slow. */
function append(list, value) {
    define(list, list.length, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
}

const { parse: parseJson } = JSON;
const repeat = uncurried(String.prototype.repeat);

/** A list of so many elements, all `undefined`. A text becomes one at once, and elements that are there can be set. */
function listOf(size) {
    const list = size > 0 ? parseJson(`[${repeat('0,', size - 1)}0]`) : [];
    for (let index = 0; index < size; index += 1) list[index] = undefined;
    return list;
}

const started = hrtime()[0];

/** Milliseconds since some time. The clock of `node:perf_hooks` is as quick, and that takes much memory. */
function now() {
    const time = hrtime();
    return (time[0] - started) * 1e3 + time[1] / 1e6;
}

/** A flag of a regular expression, from its own slot: `flags` would ask the object. */
const flag = (letter, name) => [letter, getterOf(RegExp.prototype, name)];
/** Those that mean the same in the core's patterns, and all, in the engine's order. */
const inlineFlags = [flag('i', 'ignoreCase'), flag('m', 'multiline'), flag('s', 'dotAll')];
const flags = [
    flag('d', 'hasIndices'),
    flag('g', 'global'),
    ...inlineFlags,
    flag('u', 'unicode'),
    flag('v', 'unicodeSets'),
    flag('y', 'sticky'),
];

module.exports = Object.freeze({
    __proto__: null,
    uncurried,
    types: Object.freeze({ __proto__: null, ...types }),
    now,
    wallMilliseconds: Date.now,

    isArray: Array.isArray,
    freeze: Object.freeze,
    symbolFor: Symbol.for,
    keysOf: Object.keys,
    hasOwn: Object.hasOwn ?? uncurried(Object.prototype.hasOwnProperty),
    namesOf: Object.getOwnPropertyNames,
    symbolsOf: Object.getOwnPropertySymbols,
    descriptorOf: Reflect.getOwnPropertyDescriptor,
    append,
    listOf,
    define,
    deleteProperty: Reflect.deleteProperty,
    prototypeOf,
    setPrototypeOf: Reflect.setPrototypeOf,
    lookupGetter: uncurried(Object.prototype.__lookupGetter__),
    isInteger: Number.isInteger,
    isSafeInteger: Number.isSafeInteger,
    is: Object.is,
    floor: Math.floor,
    toNumber: Number,
    fromCharCode: String.fromCharCode,
    clz32: Math.clz32,
    imul: Math.imul,

    ArrayPrototype: Array.prototype,
    ObjectPrototype: Object.prototype,
    RangeErrorPrototype: RangeError.prototype,
    Error,
    Map,
    Set,
    WeakMap,
    WeakSet,
    Uint8Array,
    Uint32Array,
    Float64Array,
    Int32Array,
    DataView,
    BigInt,
    asUintN: BigInt.asUintN,

    mapHas: uncurried(Map.prototype.has),
    mapGet: uncurried(Map.prototype.get),
    mapSet: uncurried(Map.prototype.set),
    mapDelete: uncurried(Map.prototype.delete),
    mapClear: uncurried(Map.prototype.clear),
    mapSize: getterOf(Map.prototype, 'size'),
    mapEntries: uncurried(Map.prototype.entries),
    nextOfMap: uncurried(iterators.Map.next),
    setHas: uncurried(Set.prototype.has),
    setAdd: uncurried(Set.prototype.add),
    setDelete: uncurried(Set.prototype.delete),
    setSize: getterOf(Set.prototype, 'size'),
    setValues: uncurried(Set.prototype.values),
    nextOfSet: uncurried(iterators.Set.next),
    weakMapGet: uncurried(WeakMap.prototype.get),
    weakMapSet: uncurried(WeakMap.prototype.set),
    weakMapHas: uncurried(WeakMap.prototype.has),
    weakSetHas: uncurried(WeakSet.prototype.has),
    weakSetAdd: uncurried(WeakSet.prototype.add),

    lengthOfTyped: getterOf(TypedArray.prototype, 'length'),
    dateTime: uncurried(Date.prototype.getTime),
    dateText: uncurried(Date.prototype.toISOString),
    patternSource: getterOf(RegExp.prototype, 'source'),
    flags,
    inlineFlags,
    symbolDescription: getterOf(Symbol.prototype, 'description'),
    symbolText: uncurried(Symbol.prototype.toString),
    unboxNumber: uncurried(Number.prototype.valueOf),
    unboxString: uncurried(String.prototype.valueOf),
    unboxBoolean: uncurried(Boolean.prototype.valueOf),
    unboxSymbol: uncurried(Symbol.prototype.valueOf),
    unboxBigInt: uncurried(BigInt.prototype.valueOf),
    functionText: uncurried(Function.prototype.toString),

    codeUnit: uncurried(String.prototype.charCodeAt),
    slice: uncurried(String.prototype.slice),
    includes: uncurried(String.prototype.includes),
    startsWith: uncurried(String.prototype.startsWith),
    endsWith: uncurried(String.prototype.endsWith),
    indexOf: uncurried(String.prototype.indexOf),
    lastIndexOf: uncurried(String.prototype.lastIndexOf),

    compareExchange: Atomics.compareExchange,
    load: Atomics.load,
    sliceOfTyped: uncurried(TypedArray.prototype.slice),
    setTyped: uncurried(TypedArray.prototype.set),
    captureStackTrace: Error.captureStackTrace,

    allocUnsafeSlow: Buffer.allocUnsafeSlow,
    ofBuffer: { ucs2Write: Buffer.prototype.ucs2Write, utf8Write: Buffer.prototype.utf8Write },
    ofView: {
        getUint32: DataView.prototype.getUint32,
        setFloat64: DataView.prototype.setFloat64,
        setUint32: DataView.prototype.setUint32,
    },
    bufferOf: getterOf(TypedArray.prototype, 'buffer'),

    StoragePrototype: AsyncLocalStorage.prototype,
    getStore: uncurried(AsyncLocalStorage.prototype.getStore),
    nodeMajor: Number.parseInt(process.versions.node, 10),
    getHeapSpaceStatistics,
    getHeapStatistics,

    /** Prototypes by which an object of the engine's own kinds is told; the brand is looked at as well. */
    known: [
        ['Map', Map.prototype],
        ['Set', Set.prototype],
        ['Date', Date.prototype],
        ['RegExp', RegExp.prototype],
        ['Error', Error.prototype],
        ['Typed', TypedArray.prototype],
        ['Buffer', ArrayBuffer.prototype],
        ['Buffer', SharedArrayBuffer.prototype],
        ['Weak', WeakMap.prototype],
        ['Weak', WeakSet.prototype],
        ['Boxed', Number.prototype],
        ['Boxed', String.prototype],
        ['Boxed', Boolean.prototype],
        ['Boxed', Symbol.prototype],
        ['Boxed', BigInt.prototype],
        ['Iterator', Iterator],
        ['Iterator', AsyncIterator],
    ],
    iterators: Object.freeze(iterators),
});
