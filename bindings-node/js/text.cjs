// The text of functions: `Function.prototype.toString` shows that of the program, without our guards. Programs look at it, and send
// functions elsewhere by it. Functions that are made while the function around them runs a variant show the text of that.
'use strict';

const { codeUnit, define, descriptorOf, includes, indexOf, slice } = require('./primordials.cjs');

const { apply } = Reflect;
const OPEN = 40;
const CLOSE = 41;
const SEMICOLON = 59;

/** The text without the guards in it; the names of their cells begin with `prefix`. */
function withoutGuards(text, prefix) {
    const begin = `typeof ${prefix}`;
    let rest = text;
    let clean = '';
    for (let at = indexOf(rest, begin); at >= 0; at = indexOf(rest, begin)) {
        clean += slice(rest, 0, startOfGuard(rest, at));
        // The test has no brackets but of the cell, the call has its arguments in them.
        const call = endOfCall(rest, indexOf(rest, '.call(', at) + '.call'.length);
        rest = slice(rest, endOfGuard(rest, codeUnit(rest, call) === CLOSE ? call + 2 : call + 1));
    }
    return clean + rest;
}

/** Of a function with a body it is a statement, after a directive with a semicolon before it; else an expression in brackets. */
function startOfGuard(text, test) {
    if (slice(text, test - 3, test) !== 'if(') return test - 1;
    return codeUnit(text, test - 4) === SEMICOLON ? test - 4 : test - 3;
}

/** After what never runs, if that is there. */
function endOfGuard(text, at) {
    if (slice(text, at, at + 4) === '0?0(') return indexOf(text, ':', at) + 1;
    return slice(text, at, at + 7) === 'if(0)0(' ? indexOf(text, ';', at) + 1 : at;
}

/** Where the bracket is closed, which what ends the guard follows. In it are names and arrow functions, and no strings. */
function endOfCall(text, open) {
    let depth = 0;
    let at = open;
    do {
        const unit = codeUnit(text, at);
        if (unit === OPEN) depth += 1;
        if (unit === CLOSE) depth -= 1;
        at += 1;
    } while (depth > 0 && at < text.length);
    return at;
}

/** Makes functions show the text of the program. Where their prototype is frozen they show guards. */
function install(prefix) {
    const { prototype } = Function;
    const before = descriptorOf(prototype, 'toString');
    const own = before?.value;
    if (typeof own !== 'function') return;
    const { toString } = {
        toString() {
            const text = apply(own, this === toString ? own : this, []);
            return includes(text, prefix) ? withoutGuards(text, prefix) : text;
        },
    };
    define(prototype, 'toString', { __proto__: null, ...before, value: toString });
}

module.exports = { install };
