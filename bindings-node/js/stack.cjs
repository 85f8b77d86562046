// The stack of a hit. It stands on the walk of a hit, asked by hit.cjs.
//
// The engine gives a stack to whatever `Error.prepareStackTrace` has. For the moment of asking that is a function of ours: shown.cjs
// has put a property there that answers it. To define one is dear, and makes the engine forget what it knows of `Error`: that is
// done only where the program has taken ours away, and its own is put back before anything of it could run.
'use strict';

const layout = require('./layout.cjs');
const {
    Error,
    Map,
    Uint32Array,
    captureStackTrace,
    define,
    deleteProperty,
    descriptorOf,
    floor,
    hasOwn,
    mapGet,
    mapSet,
    mapSize,
    setPrototypeOf,
    startsWith,
    uncurried,
} = require('./primordials.cjs');
const { guarded, handTo, own, variantAt, variantWithin, variantsOf } = require('./shown.cjs');

/** Files and functions whose numbers are kept here. */
const CODES = 4096;
/** What a frame has room for. */
const MAX_LINE = 0xfffff;
const MAX_COLUMN = 0xffe;
/** What a note of a place has its line in. */
const LINES = 2 ** 20;
/** The program's own text. */
const PROGRAMS = 0xffffffff;

/** Pairs of a code and a position, innermost first. */
const frames = new Uint32Array(layout.STACK_FRAMES * 2);

/** How the engine's frames are read; null where the program was started so that `Error` cannot be asked for them. */
const sample = sampleFrame();
const fileOf = sample && uncurried(sample.getFileName);
const functionOf = sample && uncurried(sample.getFunctionName);
const lineOf = sample && uncurried(sample.getLineNumber);
const columnOf = sample && uncurried(sample.getColumnNumber);
const isAsync = sample && uncurried(sample.isAsync);
const isEvalOf = sample && uncurried(sample.isEval);

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

/** Numbers a function in a text of a file ({@link use}): text 0 is the file as it was loaded, others are variants. Of a place that
 *  the frame has no room for, line and column are numbered with it. */
let code = () => 0;
/** By file, text, and function. */
let codes = new Map();

/** From now on code is numbered by this function. */
function use(number) {
    code = number;
    codes = new Map();
}

/** The map that a map has for a key; else a new one, which it has from then on if there is room. */
function inner(map, key) {
    const found = mapGet(map, key);
    if (found !== undefined) return found;
    const made = new Map();
    if (mapSize(map) < CODES) mapSet(map, key, made);
    return made;
}

function numberOf(file, text, name) {
    const inText = inner(inner(codes, file), text);
    const found = mapGet(inText, name);
    return found === undefined ? numbered(inText, name, code(file, name, text, 0, 0)) : found;
}

function farNumberOf(file, text, name, line, column) {
    const inText = inner(inner(codes, file), text);
    const key = `${name}\n${line}:${column}`;
    const found = mapGet(inText, key);
    return found === undefined ? numbered(inText, key, code(file, name, text, line, column)) : found;
}

/** A number that is kept where there is room. */
function numbered(map, key, number) {
    if (mapSize(map) < CODES) mapSet(map, key, number);
    return number;
}

/** The variant that a function of this name runs, of a frame that is known to be one: a function that goes on after an `await` has
 *  no guard below it. */
function variantOf(file, name) {
    const functions = mapGet(guarded, file);
    if (functions === undefined) return 0;
    const variants = variantsOf(functions);
    for (let index = 0; index < variants.length; index += 1) {
        if (variants[index].name === name) return variants[index].text;
    }
    return 0;
}

/** The variant that is called at a place. Of a function that was made while the one around it ran a variant the guard is in that. */
function guardedBy(functions, name, line, column, called) {
    const found = variantAt(functions, line, column);
    return found === undefined && name === called ? variantWithin(functions, line, column) : found;
}

let count = 0;
/** The file and the function of the innermost frame. */
let topFile = '';
let topName = '';

function put(index, file, text, name, line, column) {
    const isFar = line > MAX_LINE || column > MAX_COLUMN;
    frames[index * 2] = isFar ? farNumberOf(file, text, name, line, column) : numberOf(file, text, name);
    frames[index * 2 + 1] = isFar ? 0 : (line << 12) | column;
}

/** How many of these are callers: the last ones may be functions that wait for the one above them. */
function callers(sites) {
    let end = sites.length;
    while (end > 0 && isAsync(sites[end - 1])) end -= 1;
    return end;
}

/** Takes the frames down while the engine hands them over, without those of guards. What a guard called is a variant, and so is
 *  where the hit is. Nothing is made for that: what hits leave behind lets the engine take more memory for what is new. */
function takeDown(_, sites) {
    if (sites.length === room && room < layout.STACK_FRAMES) {
        isCut = true;
        return '';
    }
    depth = sites.length;
    // The last frame that was put down, if it may be in a variant; else its name is null.
    let aboveFile = '';
    let aboveName = null;
    let aboveLine = 0;
    let aboveColumn = 0;
    let isWatched = false;
    const end = callers(sites);
    for (let index = 0; index < end && count < layout.STACK_FRAMES; index += 1) {
        const site = sites[index];
        // Where a debugger calls the hit, that is the condition of its breakpoint.
        if (index === 0 && isEvalOf(site)) {
            isWatched = true;
            continue;
        }
        const file = fileOf(site) ?? '';
        if (startsWith(file, own)) continue;
        const name = functionOf(site) ?? '';
        const line = lineOf(site) ?? 0;
        const column = columnOf(site) ?? 0;
        const functions = mapGet(guarded, file);
        if (functions !== undefined && aboveName !== null) {
            // What stands around the body of a variant.
            if (startsWith(name, '$s_')) continue;
            const variant = aboveFile === file ? guardedBy(functions, name, line, column, aboveName) : undefined;
            if (variant?.name === aboveName) {
                put(count - 1, file, variant.text, name, aboveLine, aboveColumn);
                if (count === 1) topName = name;
                aboveName = null;
                continue;
            }
        }
        if (count === 0) {
            topFile = file;
            topName = name;
        }
        put(count, file, count === 0 && !isWatched ? variantOf(file, name) : 0, name, line, column);
        aboveFile = file;
        aboveName = name;
        aboveLine = line;
        aboveColumn = column;
        count += 1;
    }
    // What the engine itself called, and no guard, is a function that goes on.
    if (aboveName !== null && !isWatched) put(count - 1, aboveFile, variantOf(aboveFile, aboveName), aboveName, aboveLine, aboveColumn);
    return '';
}

/** What stands in the property; it is put back as it was. */
const prepare = { __proto__: null, value: takeDown, writable: true, enumerable: true, configurable: true };
const limit = { __proto__: null, value: 0, writable: true, enumerable: true, configurable: true };

/** Frames that the engine is asked for: it takes memory for all of them, and most stacks are short. Twice as many where there may be
 *  more, and half again after so many stacks in a row that had room in that. */
const FEW = 16;
const CALM = 64;
let room = FEW;
let shallow = 0;
/** Frames of the last stack, and whether it may have had more. */
let depth = 0;
let isCut = false;

/** Where the engine puts what `takeDown` answers. */
const asked = { __proto__: null, stack: '' };

/** Fills `frames` with the stack from the caller of `below` on, and answers how many there are. `raised`: where that caller is, as
 *  variants note it, if not where it stands. Where the program keeps us from setting what the engine looks at, there are none. */
function take(below, raised = 0) {
    count = 0;
    if (sample === null) return 0;
    takeAll(below);
    // A call that ends by an exception is where that came from, and not where the function ends. The place is in the program's text.
    if (raised !== 0 && count > 0) put(0, topFile, PROGRAMS, topName, raised % LINES, floor(raised / LINES));
    return count;
}

function takeAll(below) {
    if (handTo(takeDown)) {
        ask(below);
        handTo(null);
        return;
    }
    const before = descriptorOf(Error, 'prepareStackTrace');
    if (!define(Error, 'prepareStackTrace', prepare)) return;
    ask(below);
    putBack('prepareStackTrace', before);
}

/** Has the engine make the stack, and as much of it as there is room for. */
function ask(below) {
    const before = descriptorOf(Error, 'stackTraceLimit');
    const isPlain = before !== undefined && hasOwn(before, 'value') && before.writable;
    do {
        limit.value = room;
        if (isPlain) Error.stackTraceLimit = room;
        else define(Error, 'stackTraceLimit', limit);
        capture(below);
    } while (isCut);
    shallow = depth < room / 2 && room > FEW ? shallow + 1 : 0;
    if (shallow === CALM) {
        room /= 2;
        shallow = 0;
    }
    if (isPlain) Error.stackTraceLimit = before.value;
    else putBack('stackTraceLimit', before);
}

/** Has it made once. If it may have been cut there is more room for the next one. */
function capture(below) {
    isCut = false;
    depth = 0;
    try {
        captureStackTrace(asked, below);
        // The stack is made when it is first read.
        void asked.stack;
    } catch {
        count = 0;
        isCut = false;
    }
    if (isCut) room *= 2;
}

module.exports = { frames, take, use };
