// The trace and the span that a hit belongs to, as OpenTelemetry's API knows them. It stands on the walk of a hit, asked by
// writer.cjs.
//
// Only data is read, by the names under which the API and its context manager keep it, and the engine's own `getStore`: no
// function of a tracer runs in a hit. A tracer that keeps its ids where data alone does not lead has events without them.
'use strict';

const { StoragePrototype, Uint32Array, codeUnit, descriptorOf, getStore, hasOwn, mapGet, prototypeOf, symbolFor, types } = require('./primordials.cjs');

const { isMap, isProxy } = types;
const API = symbolFor('opentelemetry.js.api.1');
const SPAN = symbolFor('OpenTelemetry Context Key SPAN');

/** Words of the ids, the most significant first: four of the trace, two of the span. */
const words = new Uint32Array(6);

/** What a property of an object's own holds, if that is data. */
function data(of, name) {
    if (typeof of !== 'object' || of === null || isProxy(of)) return undefined;
    const found = descriptorOf(of, name);
    return found !== undefined && hasOwn(found, 'value') ? found.value : undefined;
}

/** Looks for the active span: true if there is one, and its ids are in `words`. */
function find() {
    // Most programs have none, and this is the cheapest way to see that.
    if (!hasOwn(globalThis, API)) return false;
    const api = data(globalThis, API);
    const storage = data(data(api, 'context'), '_asyncLocalStorage');
    if (typeof storage !== 'object' || storage === null || isProxy(storage) || prototypeOf(storage) !== StoragePrototype) return false;
    const context = data(getStore(storage), '_currentContext');
    if (!isMap(context)) return false;
    const ids = data(mapGet(context, SPAN), '_spanContext');
    return read(data(ids, 'traceId'), 0, 4) && read(data(ids, 'spanId'), 4, 2);
}

/** Reads so many words of hex digits. */
function read(text, at, count) {
    if (typeof text !== 'string' || text.length !== count * 8) return false;
    for (let word = 0; word < count; word += 1) {
        let value = 0;
        for (let index = word * 8; index < word * 8 + 8; index += 1) {
            const digit = digitOf(codeUnit(text, index));
            if (digit < 0) return false;
            value = value * 16 + digit;
        }
        words[at + word] = value;
    }
    return true;
}

function digitOf(unit) {
    if (unit >= 48 && unit <= 57) return unit - 48;
    return unit >= 97 && unit <= 102 ? unit - 87 : -1;
}

module.exports = { find, words };
