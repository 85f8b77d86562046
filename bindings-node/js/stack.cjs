// The stack of a hit. It stands on the walk of a hit, asked by hit.cjs.
//
// The engine gives a stack to whatever stands in `Error.prepareStackTrace`. For the moment of asking that is a function of ours;
// the program's own is put back before anything of it could run.
'use strict';

const layout = require('./layout.cjs');
const {
    Error,
    Map,
    captureStackTrace,
    define,
    deleteProperty,
    descriptorOf,
    mapGet,
    mapSet,
    mapSize,
    setPrototypeOf,
    uncurried,
} = require('./primordials.cjs');

/** Files and functions whose numbers are kept here. */
const CODES = 4096;

/** Pairs of a code and a position, innermost first. */
const frames = new Uint32Array(layout.STACK_FRAMES * 2);

/** How the engine's frames are read; null where the program was started so that `Error` cannot be asked for them. */
const sample = sampleFrame();
const fileOf = sample && uncurried(sample.getFileName);
const functionOf = sample && uncurried(sample.getFunctionName);
const lineOf = sample && uncurried(sample.getLineNumber);
const columnOf = sample && uncurried(sample.getColumnNumber);

function sampleFrame() {
    const before = descriptorOf(Error, 'prepareStackTrace');
    const value = (_, sites) => sites[0];
    if (!define(Error, 'prepareStackTrace', { __proto__: null, value, configurable: true, writable: true })) return null;
    try {
        const holder = {};
        captureStackTrace(holder);
        return holder.stack ?? null;
    } finally {
        putBack('prepareStackTrace', before);
    }
}

function putBack(name, before) {
    if (before === undefined) return void deleteProperty(Error, name);
    // Else what it does not say would be asked of `Object.prototype`.
    setPrototypeOf(before, null);
    define(Error, name, before);
}

/** Numbers a file and a function ({@link use}). */
let code = () => 0;
/** By file, and there by function. */
let codes = new Map();

/** From now on code is numbered by this function. */
function use(number) {
    code = number;
    codes = new Map();
}

function numberOf(file, name) {
    let inFile = mapGet(codes, file);
    if (inFile === undefined) {
        if (mapSize(codes) >= CODES) return code(file, name);
        inFile = new Map();
        mapSet(codes, file, inFile);
    }
    const known = mapGet(inFile, name);
    if (known !== undefined) return known;
    const number = code(file, name);
    if (mapSize(inFile) < CODES) mapSet(inFile, name, number);
    return number;
}

let count = 0;

/** Takes the frames down while the engine hands them over. */
function takeDown(_, sites) {
    for (let index = 0; index < sites.length && count < layout.STACK_FRAMES; index += 1) {
        const site = sites[index];
        const number = numberOf(fileOf(site) ?? '', functionOf(site) ?? '');
        // The hit is in a variant; what called that, if not the engine that resumes it, is the guard of the same function.
        if (index === 1 && number === frames[0]) continue;
        const line = lineOf(site) ?? 0;
        const column = columnOf(site) ?? 0;
        frames[count * 2] = number;
        frames[count * 2 + 1] = ((line > 0xfffff ? 0xfffff : line) << 12) | (column > 4095 ? 4095 : column);
        count += 1;
    }
    return '';
}

/** What stands in the property; it is put back as it was. */
const prepare = { __proto__: null, value: takeDown, writable: true, enumerable: true, configurable: true };
const limit = { __proto__: null, value: layout.STACK_FRAMES, writable: true, enumerable: true, configurable: true };

/** Where the engine puts what `takeDown` answers. */
const asked = { __proto__: null, stack: '' };

/** Fills `frames` with the stack from the caller of `below` on, and answers how many there are. Where the program keeps us from
 *  setting what the engine looks at, there are none. */
function take(below) {
    count = 0;
    const ownPrepare = descriptorOf(Error, 'prepareStackTrace');
    const ownLimit = descriptorOf(Error, 'stackTraceLimit');
    if (sample === null || !define(Error, 'prepareStackTrace', prepare)) return 0;
    define(Error, 'stackTraceLimit', limit);
    try {
        captureStackTrace(asked, below);
        // The stack is made when it is first read.
        void asked.stack;
    } catch {
        count = 0;
    }
    putBack('prepareStackTrace', ownPrepare);
    putBack('stackTraceLimit', ownLimit);
    return count;
}

module.exports = { frames, take, use };
