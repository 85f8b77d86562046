// What a value of the program is, and what can be read of it without running any of its code: no getter, no trap of a proxy,
// no iterator, `toString`, `valueOf`. It stands on the walk of a hit, below helpers.cjs and writer.cjs.
//
// An object is told by its brand (what the engine made it), never by its class alone: `Object.create(Map.prototype)` is no
// map. To ask for brands only where they may be, classes are looked at once and kept (`classOf`).
'use strict';

const layout = require('./layout.cjs');
const { MAX_NAME } = require('./names.cjs');
const {
    ArrayPrototype,
    ObjectPrototype,
    Uint8Array,
    WeakMap,
    append,
    codeUnit,
    descriptorOf,
    freeze,
    functionText,
    hasOwn,
    isArray,
    isInteger,
    iterators,
    keysOf,
    known,
    lastIndexOf,
    lengthOfTyped,
    lookupGetter,
    mapSize,
    namesOf,
    prototypeOf,
    setSize,
    slice,
    startsWith,
    symbolDescription,
    symbolText,
    symbolsOf,
    types,
    unboxBigInt,
    unboxBoolean,
    unboxNumber,
    unboxString,
    unboxSymbol,
    weakMapGet,
    weakMapHas,
    weakMapSet,
} = require('./primordials.cjs');

const {
    isAnyArrayBuffer,
    isArgumentsObject,
    isBigIntObject,
    isBooleanObject,
    isBoxedPrimitive,
    isDate,
    isGeneratorObject,
    isMap,
    isMapIterator,
    isModuleNamespaceObject,
    isNativeError,
    isNumberObject,
    isProxy,
    isRegExp,
    isSet,
    isSetIterator,
    isStringObject,
    isTypedArray,
    isUint8Array,
    isWeakMap,
    isWeakSet,
} = types;

/** In place of a variable, member or entry that is not there. */
const ABSENT = freeze({ __proto__: null, absent: true });
/** In place of what only code of the program could answer. */
const COMPUTED = freeze({ __proto__: null, computed: true });

// What hits read has only properties of its own, and `Object.prototype` behind it: of a literal without a prototype the engine
// makes a table that is ten times slower to read.

/** What an object is; `KIND_OF` says which kind of value that is in expressions. */
const SHAPE = freeze({
    INSTANCE: 0,
    RECORD: 1,
    ARRAY: 2,
    ARGUMENTS: 3,
    TYPED: 4,
    BYTES: 5,
    BUFFER: 6,
    MAP: 7,
    SET: 8,
    ERROR: 9,
    DATE: 10,
    REGEXP: 11,
    BOXED: 12,
    ITERATOR: 13,
    WEAK_MAP: 14,
    WEAK_SET: 15,
    PROXY: 16,
    MODULE: 17,
    FUNCTION: 18,
});

const KIND_OF = [
    layout.KIND_OBJECT, // INSTANCE
    layout.KIND_MAP, // RECORD
    layout.KIND_LIST, // ARRAY
    layout.KIND_LIST, // ARGUMENTS
    layout.KIND_LIST, // TYPED
    layout.KIND_BYTES, // BYTES
    layout.KIND_BYTES, // BUFFER
    layout.KIND_MAP, // MAP
    layout.KIND_SET, // SET
    layout.KIND_EXCEPTION, // ERROR
    layout.KIND_OBJECT, // DATE
    layout.KIND_OBJECT, // REGEXP
    layout.KIND_OBJECT, // BOXED
    layout.KIND_ITERATOR, // ITERATOR
    layout.KIND_OPAQUE_VALUE, // WEAK_MAP
    layout.KIND_OPAQUE_VALUE, // WEAK_SET
    layout.KIND_OPAQUE_VALUE, // PROXY
    layout.KIND_OPAQUE_VALUE, // MODULE
    layout.KIND_FUNCTION, // FUNCTION
];

// Which brands an object of a class may have.
const PLAIN = 0;
const ORDINARY = 1;
const ANY = 2;
const BRANDS = freeze({
    Map: 3,
    Set: 4,
    Date: 5,
    RegExp: 6,
    Error: 7,
    Typed: 8,
    Buffer: 9,
    Weak: 10,
    Boxed: 11,
    Iterator: 12,
});
const brands = new WeakMap();
for (let at = 0; at < known.length; at += 1) weakMapSet(brands, known[at][1], BRANDS[known[at][0]]);
const brandOf = prototype => weakMapGet(brands, prototype);

/** A longer chain of classes is nobody's program; the rest of it is not looked at. */
const LONGEST_CHAIN = 100;

/** What is known of a class: of the objects that have one prototype. */
class Class {
    /** @param {string[]} names those of the class and of its ancestors, nearest first
     *  @param {number} brand */
    constructor(names, brand) {
        this.names = names;
        this.brand = brand;
    }

    // Declared, so that no setter of the program's stands before them.
    names;
    brand;

    /** Its number in the session's table with the verdict of redaction (names.cjs), and whose session that is. */
    type = -1;
    session = null;
}

/** A text that is not much longer than so many units, and longer if it was: what reads it on takes no time for the rest. */
const cutTo = (text, most) => (text.length > most ? slice(text, 0, most + 1) : text);

/** The text of a symbol. */
function textOfSymbol(symbol) {
    const description = symbolDescription(symbol);
    if (description === undefined || description.length <= MAX_NAME) return symbolText(symbol);
    return `Symbol(${cutTo(description, MAX_NAME)})`;
}

/** The name without what stands before its last dot. */
const bareName = name => slice(name, lastIndexOf(name, '.') + 1);

/** The name of the class whose prototype this is; empty if it has none. */
function nameOfClass(prototype) {
    const constructor = descriptorOf(prototype, 'constructor');
    if (constructor === undefined || !hasOwn(constructor, 'value')) return '';
    return nameOfFunction(constructor.value);
}

/** A function's own name, if it is a text. */
function nameOfFunction(of) {
    if (typeof of !== 'function' || isProxy(of)) return '';
    const name = descriptorOf(of, 'name');
    return name !== undefined && hasOwn(name, 'value') && typeof name.value === 'string' ? name.value : '';
}

/** True for a class: `class Foo {}`, not `function Foo() {}`. */
const isClass = of => startsWith(functionText(of), 'class');

function makeClass(prototype) {
    const names = [];
    let brand = ORDINARY;
    let last = prototype;
    let at = prototype;
    for (let depth = 0; at !== null; depth += 1) {
        if (depth === LONGEST_CHAIN || isProxy(at)) {
            brand = brand === ORDINARY ? ANY : brand;
            break;
        }
        const name = nameOfClass(at);
        if (name !== '') append(names, cutTo(name, MAX_NAME));
        if (brand === ORDINARY) brand = brandOf(at) ?? ORDINARY;
        last = at;
        at = prototypeOf(at);
    }
    // The classes of another context end in an `Object` that is not ours.
    if (brand === ORDINARY && last !== ObjectPrototype) {
        brand = ANY;
        if (last === prototype && names[0] === 'Object') brand = PLAIN;
    }
    return new Class(names, brand);
}

let classes = new WeakMap();

/** What is known of the class of the objects that have this prototype. */
function classAt(prototype) {
    const kept = weakMapGet(classes, prototype);
    if (kept !== undefined) return kept;
    const made = makeClass(prototype);
    weakMapSet(classes, prototype, made);
    return made;
}

const NO_CLASS = new Class([], ORDINARY);
const PROXY_CLASS = new Class(['Proxy'], ANY);
const ARGUMENTS_CLASS = new Class(['Arguments', 'Object'], ORDINARY);
const MODULE_CLASS = new Class(['Module'], ORDINARY);
const PRIMITIVES = freeze({
    undefined: new Class(['undefined'], ORDINARY),
    boolean: new Class(['boolean'], ORDINARY),
    number: new Class(['number'], ORDINARY),
    bigint: new Class(['bigint'], ORDINARY),
    string: new Class(['string'], ORDINARY),
    symbol: new Class(['symbol'], ORDINARY),
});

/** The class of a value; one without a name for null and for objects without a class. */
function classOf(value) {
    if (value === null) return NO_CLASS;
    if (typeof value !== 'object' && typeof value !== 'function') return PRIMITIVES[typeof value];
    if (isProxy(value)) return PROXY_CLASS;
    const prototype = prototypeOf(value);
    if (prototype === null) return isModuleNamespaceObject(value) ? MODULE_CLASS : NO_CLASS;
    if (prototype === ObjectPrototype && isArguments(value)) return ARGUMENTS_CLASS;
    return classAt(prototype);
}

/** The engine is asked only where there is a `length`, as every `arguments` has one. */
const isArguments = object => hasOwn(object, 'length') && isArgumentsObject(object);

/** The shape of an object or function. */
function shapeOf(object) {
    if (isProxy(object)) return SHAPE.PROXY;
    if (typeof object === 'function') return SHAPE.FUNCTION;
    if (isArray(object)) return SHAPE.ARRAY;
    const prototype = prototypeOf(object);
    if (prototype === ObjectPrototype) return isArguments(object) ? SHAPE.ARGUMENTS : SHAPE.RECORD;
    if (prototype === null) return isModuleNamespaceObject(object) ? SHAPE.MODULE : SHAPE.RECORD;
    const { brand } = classAt(prototype);
    return brand === ORDINARY ? SHAPE.INSTANCE : branded(object, brand, prototype);
}

/** The shape of an object whose class may mean a brand. */
function branded(object, brand, prototype) {
    switch (brand) {
        case BRANDS.Map:
            return isMap(object) ? SHAPE.MAP : SHAPE.INSTANCE;
        case BRANDS.Set:
            return isSet(object) ? SHAPE.SET : SHAPE.INSTANCE;
        case BRANDS.Date:
            return isDate(object) ? SHAPE.DATE : SHAPE.INSTANCE;
        case BRANDS.Error:
            return isNativeError(object) ? SHAPE.ERROR : SHAPE.INSTANCE;
        default:
            return seldom(object, brand, prototype);
    }
}

function seldom(object, brand, prototype) {
    if (isUint8Array(object)) return SHAPE.BYTES;
    if (isTypedArray(object)) return SHAPE.TYPED;
    if (isAnyArrayBuffer(object)) return SHAPE.BUFFER;
    if (isRegExp(object)) return SHAPE.REGEXP;
    if (isBoxedPrimitive(object)) return SHAPE.BOXED;
    if (isWeakMap(object)) return SHAPE.WEAK_MAP;
    if (isWeakSet(object)) return SHAPE.WEAK_SET;
    if (isIterator(object, prototype)) return SHAPE.ITERATOR;
    if (brand !== ANY && brand !== PLAIN) return SHAPE.INSTANCE;
    if (isMap(object)) return SHAPE.MAP;
    if (isSet(object)) return SHAPE.SET;
    if (isDate(object)) return SHAPE.DATE;
    if (isNativeError(object)) return SHAPE.ERROR;
    if (isArguments(object)) return SHAPE.ARGUMENTS;
    return brand === PLAIN ? SHAPE.RECORD : SHAPE.INSTANCE;
}

/** What the engine made to be walked once. An instance of a program's own class is an object, whatever it inherits. */
function isIterator(object, prototype) {
    if (isGeneratorObject(object) || isMapIterator(object) || isSetIterator(object)) return true;
    return prototype === iterators.Array || prototype === iterators.String || prototype === iterators.RegExpString;
}

/** The primitive in a box. */
function unboxed(object) {
    if (isStringObject(object)) return unboxString(object);
    if (isNumberObject(object)) return unboxNumber(object);
    if (isBooleanObject(object)) return unboxBoolean(object);
    if (isBigIntObject(object)) return unboxBigInt(object);
    return unboxSymbol(object);
}

/** The value itself, or the primitive in a box. */
function plain(value) {
    if (typeof value !== 'object' || value === null) return value;
    return shapeOf(value) === SHAPE.BOXED ? unboxed(value) : value;
}

/** The kind of a value (`KIND_*`). */
function kindOf(value) {
    switch (typeof value) {
        case 'undefined':
            return layout.KIND_UNDEFINED;
        case 'boolean':
            return layout.KIND_BOOL;
        case 'number':
        case 'bigint':
            return layout.KIND_NUMBER;
        case 'string':
            return layout.KIND_STRING;
        case 'symbol':
            return layout.KIND_OBJECT;
        case 'function':
            return KIND_OF[shapeOf(value)];
        default: {
            if (value === null) return layout.KIND_NULL;
            const shape = shapeOf(value);
            return shape === SHAPE.BOXED ? kindOf(unboxed(value)) : KIND_OF[shape];
        }
    }
}

/** Number of elements of a list. */
function lengthOf(list, shape) {
    if (shape === SHAPE.ARRAY) return list.length;
    if (shape === SHAPE.TYPED || shape === SHAPE.BYTES) return lengthOfTyped(list);
    const length = descriptorOf(list, 'length');
    if (length === undefined || !hasOwn(length, 'value')) return 0;
    return isInteger(length.value) && length.value >= 0 ? length.value : 0;
}

/** The engine tells all names of an object or none, which for a million takes a second. One that turns out to have more than this,
 *  as dictionaries have, is not asked again: the first ones are kept, more than events have room for. */
const MANY_NAMES = 10_000;
const FIRST_NAMES = 1_000;
const many = new WeakMap();
let hasMany = false;
/** What evaluates asked again for the names of such an object: it has run out of time. */
let isTooMuch = false;

const NO_KEYS = freeze([]);

/** True of an object that is not asked for its names any more. */
const hasManyNames = object => hasMany && weakMapHas(many, object);

function noted(object, names) {
    if (names.length > MANY_NAMES) note(object, names, NO_KEYS);
    return names;
}

function note(object, names, symbols) {
    weakMapSet(many, object, { names: firstOf(names), symbols: firstOf(symbols) });
    hasMany = true;
}

function firstOf(names) {
    const first = [];
    for (let index = 0; index < FIRST_NAMES && index < names.length; index += 1) append(first, names[index]);
    return first;
}

/** The names of an object's own properties, or the first ones of very many. */
function namesIn(object) {
    const first = hasMany ? weakMapGet(many, object) : undefined;
    return first === undefined ? noted(object, namesOf(object)) : first.names;
}

/** The symbols of an object whose names are these. */
function symbolsIn(object, names) {
    const first = hasMany ? weakMapGet(many, object) : undefined;
    if (first !== undefined) return first.symbols;
    const symbols = symbolsOf(object);
    if (symbols.length > MANY_NAMES) note(object, names, symbols);
    return symbols;
}

/** Those that can be enumerated, for what evaluates. */
function keysIn(object) {
    if (!hasManyNames(object)) return noted(object, keysOf(object));
    isTooMuch = true;
    return NO_KEYS;
}

/** Says once that an evaluation was too much. */
function wasTooMuch() {
    const was = isTooMuch;
    isTooMuch = false;
    return was;
}

/** Number of elements, members, entries or bytes of a container of this shape. */
function sizeOf(object, shape) {
    switch (shape) {
        case SHAPE.MAP:
            return mapSize(object);
        case SHAPE.SET:
            return setSize(object);
        case SHAPE.RECORD:
            return keysIn(object).length;
        case SHAPE.BUFFER:
            return lengthOfTyped(bytesOf(object, shape));
        default:
            return lengthOf(object, shape);
    }
}

const NO_BYTES = new Uint8Array(0);

/** The bytes of a value that is bytes. A buffer that was handed away has none. */
function bytesOf(object, shape) {
    if (shape === SHAPE.BYTES) return object;
    try {
        return new Uint8Array(object);
    } catch {
        return NO_BYTES;
    }
}

/** True if elements may be read as they stand, once no getter is found: nothing unusual is among the ancestors. */
const isUsual = array => prototypeOf(array) === ArrayPrototype && prototypeOf(ArrayPrototype) === ObjectPrototype;

/** An element of an array, whose `usual` is `isUsual`: a hole is undefined. */
function elementOf(array, index, usual) {
    if (usual) return lookupGetter(array, index) === undefined ? array[index] : COMPUTED;
    const found = descriptorOf(array, index);
    if (found === undefined) return undefined;
    return hasOwn(found, 'value') ? found.value : COMPUTED;
}

/** The element at a position in range of a list. */
function itemOf(list, index, shape) {
    if (shape === SHAPE.TYPED) return list[index];
    return elementOf(list, index, shape === SHAPE.ARRAY && isUsual(list));
}

/** True for the `stack` of an error. To read it for the first time runs what the program has put into `Error.prepareStackTrace`, and
 *  fixes what the program reads later. */
const isStack = (object, name) => name === 'stack' && isNativeError(object);

/** A property of an object itself. */
function ownOf(object, name) {
    if (isStack(object, name)) return COMPUTED;
    const found = descriptorOf(object, name);
    if (found === undefined) return ABSENT;
    return hasOwn(found, 'value') ? found.value : COMPUTED;
}

/** A property of an object or of its ancestors. */
function fieldOf(object, name) {
    let at = object;
    for (let depth = 0; depth < LONGEST_CHAIN; depth += 1) {
        const found = ownOf(at, name);
        if (found !== ABSENT) return found;
        at = prototypeOf(at);
        if (at === null) return ABSENT;
        if (isProxy(at)) return COMPUTED;
    }
    return ABSENT;
}

/** The value under a key of a plain object. */
function entryOf(record, key) {
    const found = descriptorOf(record, key);
    if (found === undefined || !found.enumerable) return ABSENT;
    return hasOwn(found, 'value') ? found.value : COMPUTED;
}

/** The message of an error: a text, or null. */
function messageOf(error) {
    const message = fieldOf(error, 'message');
    return typeof message === 'string' ? message : null;
}

/** True if a text begins, or ends, with half of a pair of surrogates, which may belong to what stands beside it. */
const beginsInPair = text => text.length > 0 && (codeUnit(text, 0) & 0xfc00) === 0xdc00;
const endsInPair = text => text.length > 0 && (codeUnit(text, text.length - 1) & 0xfc00) === 0xd800;

module.exports = {
    ABSENT,
    COMPUTED,
    KIND_OF,
    NO_CLASS,
    SHAPE,
    bareName,
    beginsInPair,
    bytesOf,
    classOf,
    cutTo,
    elementOf,
    endsInPair,
    entryOf,
    fieldOf,
    hasManyNames,
    isClass,
    isStack,
    isUsual,
    itemOf,
    keysIn,
    kindOf,
    lengthOf,
    messageOf,
    nameOfFunction,
    namesIn,
    ownOf,
    plain,
    shapeOf,
    sizeOf,
    symbolsIn,
    textOfSymbol,
    unboxed,
    wasTooMuch,
};
