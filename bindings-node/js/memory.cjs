// Whether this thread's heap is nearly full. Then nothing is captured: a program that is short of memory is not made to fail
// sooner by what we need for a moment. It stands on the walk of a hit, asked by hit.cjs.
'use strict';

const { ArrayPrototype, ObjectPrototype, getHeapSpaceStatistics, getHeapStatistics, hasOwn, nodeMajor } = require('./primordials.cjs');

/** From this share of what old objects may take on the heap is nearly full: the engine collects with all its might then. */
const FULL = 0.9;
/** One in so many events asks the engine, which takes half a microsecond; while memory is short, each does. */
const EVERY = 64;
/** What the engine of this Node adds to its limit for young objects, unless it is told otherwise. */
const YOUNG = (nodeMajor < 24 ? 48 : 192) * 1024 * 1024;

const limit = getHeapStatistics().heap_size_limit - YOUNG;
let left = 1;

/** True if nothing should be captured now. */
function isShort() {
    left -= 1;
    if (left > 0) return false;
    const full = limit * FULL;
    const isFull = full > 0 && getHeapStatistics().used_heap_size > full && (!maySeeSpaces() || usedByOld() > full);
    left = isFull ? 1 : EVERY;
    return isFull;
}

/** False if the program has set things up so that its code would run as the engine's list of spaces is filled. */
function maySeeSpaces() {
    for (let at = 0; at < 16; at += 1) if (hasOwn(ObjectPrototype, at) || hasOwn(ArrayPrototype, at)) return false;
    return true;
}

/** Bytes of objects that have outlived a collection or two, and of their garbage. */
function usedByOld() {
    const spaces = getHeapSpaceStatistics();
    let used = 0;
    for (let at = 0; at < spaces.length; at += 1) {
        const { space_name: name, space_used_size: size } = spaces[at];
        if (name !== 'new_space' && name !== 'new_large_object_space' && name !== 'read_only_space') used += size;
    }
    return used;
}

module.exports = { isShort };
