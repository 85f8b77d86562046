// The operators that programs of expressions are made of (`program.rs`), exactly as *Probes and expressions* 3.6 says. It stands
// on the walk of a hit: the code of a probe calls it, values.cjs reads for it.
//
// What fails answers FAILED and leaves in `fault` why; the core makes the sentence of it. Nothing recurses: collections may be
// nested as deep as they like, and the program may be near the end of its stack.
'use strict';

const layout = require('./layout.cjs');
const { isSecret, isSecretBytes, typeNumber } = require('./names.cjs');
const {
    BigInt,
    Map,
    Set,
    codeUnit,
    endsWith: endsWithUnits,
    floor,
    freeze,
    fromCharCode,
    includes,
    indexOf,
    inlineFlags,
    isInteger,
    mapEntries,
    mapGet,
    mapHas,
    mapSet,
    nextOfMap,
    nextOfSet,
    now,
    patternSource,
    setAdd,
    setHas,
    setPrototypeOf,
    setValues,
    slice,
    startsWith: startsWithUnits,
    toNumber,
    weakMapGet,
    weakMapHas,
    weakSetHas,
} = require('./primordials.cjs');
const {
    ABSENT,
    COMPUTED,
    KIND_OF,
    SHAPE,
    bareName,
    beginsInPair,
    bytesOf,
    classOf,
    endsInPair,
    entryOf,
    fieldOf,
    itemOf,
    keysIn,
    kindOf,
    lengthOf,
    messageOf,
    ownOf,
    plain,
    shapeOf,
    sizeOf,
    wasTooMuch,
} = require('./values.cjs');

const {
    FAILED_BOUNDS,
    FAILED_HOST,
    FAILED_LIMIT,
    FAILED_NULL,
    FAILED_REDACTED,
    FAILED_SIDE_EFFECT,
    FAILED_TIMEOUT,
    FAILED_TYPE,
    FAILED_UNDEFINED,
    KIND_BYTES,
    KIND_EXCEPTION,
    KIND_FUNCTION,
    KIND_ITERATOR,
    KIND_LIST,
    KIND_MAP,
    KIND_NULL,
    KIND_NUMBER,
    KIND_OBJECT,
    KIND_OPAQUE_VALUE,
    KIND_SET,
    KIND_STRING,
    KIND_UNDEFINED,
} = layout;

// ---- failures ------------------------------------------------------------------------------------------------------------

/** In place of a value: the operation has failed. */
const FAILED = freeze({ __proto__: null, failed: true });

/** `#` */
const PRIVATE_SIGN = 35;

/** Why the last operation failed: the fields of the core's `Raised`. */
const fault = {
    op: 0,
    category: 0,
    of: KIND_OPAQUE_VALUE,
    with: KIND_OPAQUE_VALUE,
    first: 0n,
    second: 0n,
    type: layout.NO_TYPE,
    text: '',
    nested: false,
    /** Only code of the program could have answered. */
    computed: false,
    /** The core has the failure already (`matches`, `number`). */
    given: false,
};

function failed(category, of, other) {
    fault.category = category;
    fault.of = of;
    fault.with = other;
    fault.first = 0n;
    fault.second = 0n;
    fault.type = layout.NO_TYPE;
    fault.text = '';
    fault.nested = false;
    fault.computed = false;
    fault.given = false;
    return FAILED;
}

/** Fails with this category; of the operands only their kinds are told. */
const failedOn = (category, value) => failed(category, kindOf(value), KIND_OPAQUE_VALUE);

/** Notes which op failed, and ends the program. */
function at(op) {
    fault.op = op;
    return FAILED;
}

/** An expression that reads a redacted name. */
function refusedName() {
    failed(FAILED_REDACTED, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
    return at(0);
}

/** True if `isDefined` does not hide the failure. */
const goesThrough = () =>
    fault.category === FAILED_REDACTED || fault.category === FAILED_TIMEOUT || fault.category === FAILED_LIMIT;

/** The failure of an operation on a kind that does not have it. */
function refused(value) {
    const kind = kindOf(value);
    if (kind === KIND_NULL || kind === KIND_UNDEFINED) return failed(FAILED_NULL, kind, kind);
    if (kind === KIND_ITERATOR || kind === KIND_OPAQUE_VALUE) return failed(FAILED_SIDE_EFFECT, kind, kind);
    return failed(FAILED_TYPE, kind, kind);
}

function computed(kind) {
    failed(FAILED_SIDE_EFFECT, kind, KIND_OPAQUE_VALUE);
    fault.computed = true;
    return FAILED;
}

function secretName(name) {
    failed(FAILED_REDACTED, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
    fault.text = name;
    return FAILED;
}

/** The number of a value's class, for sentences. */
const typeOf = value => floor(typeNumber(classOf(value)) / 2);

/** True if any type is redacted: else no value is asked for its class ({@link use}). */
let typesMatter = false;

/** A value that was read: of a redacted class it fails. */
const admit = value => (typesMatter ? admitted(value) : value);

function admitted(value) {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return value;
    const number = typeNumber(classOf(value));
    if (number % 2 === 0) return value;
    failed(FAILED_REDACTED, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
    fault.type = floor(number / 2);
    return FAILED;
}

// ---- what an evaluation may cost -----------------------------------------------------------------------------------------

const budget = { milliseconds: 50, deadline: 0, steps: 0, predicates: 0, comparisons: 0 };

/** The time of the evaluations that follow is counted from here on. */
function startTime() {
    budget.deadline = 0;
    budget.steps = 0;
}

/** Begins an evaluation: its counts start afresh. */
function begin() {
    budget.predicates = 0;
    budget.comparisons = 0;
}

/** Looks at the clock; true if the time is over. The first look starts it. */
function isLate() {
    const time = now();
    if (budget.deadline === 0) {
        budget.deadline = time + budget.milliseconds;
        return false;
    }
    return time >= budget.deadline;
}

/** What an evaluation has come to; FAILED if it would have taken too long. */
const inTime = value =>
    wasTooMuch() && value !== FAILED ? failed(FAILED_TIMEOUT, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE) : value;

/** Counts steps; FAILED if the time is over. */
function spend(steps) {
    const before = budget.steps;
    budget.steps = before + steps;
    if (floor(before / layout.STEPS_A_LOOK) === floor(budget.steps / layout.STEPS_A_LOOK) || !isLate()) return null;
    return failed(FAILED_TIMEOUT, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
}

/** Counts the steps of work on so many bytes. */
const charge = bytes => (bytes < layout.BYTES_A_STEP ? null : spend(floor(bytes / layout.BYTES_A_STEP)));

const overLimit = () => failed(FAILED_LIMIT, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);

/** Counts an evaluation of a predicate. */
function countPredicate() {
    budget.predicates += 1;
    return budget.predicates > layout.MAX_PREDICATES ? overLimit() : spend(1);
}

/** Counts a comparison of elements. */
function countComparison() {
    budget.comparisons += 1;
    return budget.comparisons > layout.MAX_COMPARISONS ? overLimit() : spend(1);
}

// ---- truth and numbers ---------------------------------------------------------------------------------------------------

/** The truth value (3.5). */
function truth(value) {
    if (typeof value === 'boolean') return value;
    if (typeof value !== 'object' || value === null) return !isFalsy(value);
    const shape = shapeOf(value);
    if (shape === SHAPE.BOXED) return truth(plain(value));
    const kind = KIND_OF[shape];
    return kind === KIND_LIST || kind === KIND_SET || kind === KIND_MAP || kind === KIND_BYTES
        ? sizeOf(value, shape) > 0
        : true;
}

/** Of what is no object; `document.all` does not exist here, but a function is never false. */
const isFalsy = value => typeof value !== 'function' && !value;

const isNumber = value => typeof value === 'number' || typeof value === 'bigint';

/** A position as an integer of 64 bits; FAILED if it is no whole number. */
function position(value) {
    const number = plain(value);
    if (typeof number === 'number' && isInteger(number)) return number;
    if (typeof number === 'bigint') return number;
    return FAILED;
}

const MOST = 2n ** 63n - 1n;
const LEAST = -(2n ** 63n);

/** The same for the core: within 64 bits. */
function clamped(number) {
    const whole = BigInt(number);
    if (whole > MOST) return MOST;
    return whole < LEAST ? LEAST : whole;
}

/** The place in a list of so many elements that a key means; FAILED if there is none. */
function place(key, length, kind) {
    const number = position(key);
    if (number === FAILED) return failed(FAILED_TYPE, kind, kindOf(key));
    // A position beyond 2^53 is beyond every list, however it is rounded.
    const index = number < 0 ? toNumber(number) + length : toNumber(number);
    if (index >= 0 && index < length) return index;
    failed(FAILED_UNDEFINED, kind, KIND_NUMBER);
    fault.first = clamped(number);
    fault.second = BigInt(length);
    return FAILED;
}

// ---- texts ---------------------------------------------------------------------------------------------------------------

/** Units of a text between two looks at the time that is left. */
const A_LOOK = 131_072;

/** True if two texts are equal, or FAILED. */
function sameText(left, right) {
    if (left.length !== right.length) return false;
    if (left.length <= A_LOOK) return left === right;
    for (let from = 0; from < left.length; from += A_LOOK) {
        if (charge(A_LOOK) !== null) return FAILED;
        if (slice(left, from, from + A_LOOK) !== slice(right, from, from + A_LOOK)) return false;
    }
    return true;
}

/** Below 0, 0, above 0 by code points, or FAILED. */
function orderOfTexts(left, right) {
    const shorter = left.length < right.length ? left.length : right.length;
    for (let index = 0; index < shorter; index += 1) {
        const a = codeUnit(left, index);
        const b = codeUnit(right, index);
        if (a !== b) return orderOfUnits(left, right, index);
        if ((index + 1) % A_LOOK === 0 && charge(A_LOOK) !== null) return FAILED;
    }
    return left.length - right.length;
}

/** The order of two texts that differ first at an index: a pair of surrogates stands above all single units. */
function orderOfUnits(left, right, index) {
    const a = codeUnit(left, index);
    const b = codeUnit(right, index);
    const isLow = unit => (unit & 0xfc00) === 0xdc00;
    // The second halves differ only within the same first half, which stands before.
    if (index > 0 && isLow(a) !== isLow(b) && (codeUnit(left, index - 1) & 0xfc00) === 0xd800) return isLow(a) ? 1 : -1;
    const pairA = isPair(left, index);
    const pairB = isPair(right, index);
    if (pairA !== pairB) return pairA ? 1 : -1;
    return a - b;
}

const isPair = (text, index) =>
    index + 1 < text.length &&
    (codeUnit(text, index) & 0xfc00) === 0xd800 &&
    (codeUnit(text, index + 1) & 0xfc00) === 0xdc00;

/** Units that a code point has. */
const widthAt = (text, index) => (isPair(text, index) ? 2 : 1);

/** True if no pair is cut at this place. */
const isBetween = (text, index) => index === 0 || index === text.length || !isPair(text, index - 1);

/** True if a text holds a part, or FAILED. */
function holdsText(text, part) {
    if (text.length <= A_LOOK) {
        if (charge(text.length) !== null) return FAILED;
        return includes(text, part) && isWhole(text, part);
    }
    // Each piece repeats the end of the one before, which may hold the beginning of the part.
    const piece = A_LOOK > 2 * part.length ? A_LOOK : 2 * part.length;
    for (let from = 0; from < text.length; from += piece - part.length + 1) {
        if (charge(piece) !== null) return FAILED;
        if (includes(slice(text, from, from + piece), part)) return isWhole(text, part);
    }
    return part.length === 0;
}

/** True if a part that is in a text stands there also once code points are taken whole. */
function isWhole(text, part) {
    if (!beginsInPair(part) && !endsInPair(part)) return true;
    for (let from = indexOf(text, part); from >= 0; from = indexOf(text, part, from + 1)) {
        if (isBetween(text, from) && isBetween(text, from + part.length)) return true;
        if (spend(1) !== null) return FAILED;
    }
    return false;
}

/** Code points of a text, or FAILED. */
function points(text) {
    if (text.length > layout.MAX_COUNTED) return failed(FAILED_LIMIT, KIND_STRING, KIND_OPAQUE_VALUE);
    if (charge(text.length) !== null) return FAILED;
    let count = 0;
    for (let index = 0; index < text.length; index += widthAt(text, index)) count += 1;
    return count;
}

// ---- equality ------------------------------------------------------------------------------------------------------------

/** In place of a verdict: the children have to be compared. */
const DEEP = 2;

/** The verdict on two values if it needs no look at children: true, false, DEEP or FAILED. */
function quick(left, right) {
    if (isNumber(left)) return isNumber(right) ? left == right : quickBoxed(left, right);
    if (typeof left === 'string') return typeof right === 'string' ? sameText(left, right) : quickBoxed(left, right);
    if ((typeof left !== 'object' && typeof left !== 'function') || left === null) {
        return typeof right === 'object' && right !== null ? quickBoxed(left, right) : left === right;
    }
    return quickObject(left, right);
}

/** A primitive and something else: equal only to what a box holds. */
function quickBoxed(left, right) {
    if (typeof right !== 'object' || right === null) return false;
    const other = plain(right);
    return typeof other === 'object' ? false : quick(left, other);
}

function quickObject(left, right) {
    const shape = shapeOf(left);
    if (shape === SHAPE.BOXED) return quick(plain(left), right);
    if ((typeof right !== 'object' && typeof right !== 'function') || right === null) return false;
    const other = shapeOf(right);
    if (other === SHAPE.BOXED) return false;
    const kind = KIND_OF[shape];
    if (kind !== KIND_OF[other]) return false;
    if (kind === KIND_BYTES) return sameBytes(bytesOf(left, shape), bytesOf(right, other));
    if (kind !== KIND_LIST && kind !== KIND_SET && kind !== KIND_MAP) return left === right;
    const size = sizeOf(left, shape);
    if (size !== sizeOf(right, other)) return false;
    return size === 0 ? true : DEEP;
}

function sameBytes(left, right) {
    if (left === right) return true;
    if (charge(left.length) !== null) return FAILED;
    // `length` of a view is a getter of the engine's, which `lengthOf` has asked.
    const length = lengthOf(left, SHAPE.BYTES);
    if (length !== lengthOf(right, SHAPE.BYTES)) return false;
    for (let index = 0; index < length; index += 1) {
        if (left[index] !== right[index]) return false;
    }
    return true;
}

/** The children of a set or map, one after the other: `next` is false at the end. Of a set, the key is the member. */
class Children {
    constructor(of, shape) {
        this.of = of;
        this.shape = shape;
        this.isMap = shape !== SHAPE.SET;
        if (shape === SHAPE.MAP) this.walk = mapEntries(of);
        else if (shape === SHAPE.SET) this.walk = setValues(of);
        else this.keys = keysIn(of);
    }

    of;
    shape;
    isMap;
    walk = null;
    keys = null;
    index = 0;
    key = undefined;
    value = undefined;

    next() {
        if (this.shape === SHAPE.RECORD) {
            if (this.index === this.keys.length) return false;
            this.key = this.keys[this.index];
            this.index += 1;
            this.value = entryOf(this.of, this.key);
            return true;
        }
        const step = this.shape === SHAPE.MAP ? nextOfMap(this.walk) : nextOfSet(this.walk);
        if (step.done) return false;
        if (this.shape === SHAPE.MAP) {
            this.key = step.value[0];
            this.value = step.value[1];
        } else {
            this.key = step.value;
        }
        return true;
    }
}

/** A comparison under way: of lists, of the children of one collection with another, or the search of one child. */
const LISTS = 0;
const WITHIN = 1;
const FIND = 2;

const lists = (a, b, below) => ({
    what: LISTS,
    a,
    b,
    shapeA: shapeOf(a),
    shapeB: shapeOf(b),
    index: 0,
    length: sizeOf(a, shapeOf(a)),
    below,
});
const within = (a, b, below) => ({
    what: WITHIN,
    children: new Children(a, shapeOf(a)),
    other: b,
    shape: shapeOf(b),
    below,
});
const find = (children, other, shape, below) => ({
    what: FIND,
    key: children.key,
    value: children.value,
    isMap: children.isMap,
    candidates: new Children(other, shape),
    below,
});

const taskOf = (a, b, below) => (KIND_OF[shapeOf(a)] === KIND_LIST ? lists(a, b, below) : within(a, b, below));

/** Compares two children: true, false, DEEP or FAILED. */
function children(a, b) {
    if (countComparison() !== null) return FAILED;
    if (a === COMPUTED || b === COMPUTED) return computed(KIND_OBJECT);
    if (admit(a) === FAILED || admit(b) === FAILED) return FAILED;
    return quick(a, b);
}

/** Equality of two values whose children have to be compared. The tasks hang below each other. */
function deep(a, b) {
    let top = taskOf(a, b, null);
    let levels = 1;
    let last = DEEP;
    while (top !== null) {
        const outcome = turn(top, last);
        last = DEEP;
        if (outcome === FAILED) return FAILED;
        if (outcome === true || outcome === false) {
            if (top.what !== FIND) levels -= 1;
            top = top.below;
            last = outcome;
            continue;
        }
        // Only the values of two entries that were found take the place of the search.
        top = outcome;
        if (top.what !== FIND) levels += 1;
        if (levels > layout.MAX_NESTING) {
            overLimit();
            fault.nested = true;
            return FAILED;
        }
    }
    return last;
}

/** One step of a comparison: a verdict, FAILED, or the task that comes first. */
function turn(task, last) {
    if (task.what === LISTS) return last === false ? false : turnLists(task);
    if (task.what === WITHIN) return last === false ? false : turnWithin(task);
    if (last !== true) return turnFind(task);
    return task.isMap ? turnValues(task) : true;
}

function turnLists(task) {
    while (task.index < task.length) {
        const a = itemOf(task.a, task.index, task.shapeA);
        const b = itemOf(task.b, task.index, task.shapeB);
        task.index += 1;
        const same = children(a, b);
        if (same === DEEP) return taskOf(a, b, task);
        if (same !== true) return same;
    }
    return true;
}

function turnWithin(task) {
    const { children: own, other, shape } = task;
    while (own.next()) {
        if (!own.isMap || !isQuick(own.key, shape)) return find(own, other, shape, task);
        const value = shape === SHAPE.MAP ? underText(other, own.key) : entryOf(other, own.key);
        if (value === ABSENT) return false;
        if (isSecret(own.key)) return secretName(own.key);
        const same = children(own.value, value);
        if (same === DEEP) return taskOf(own.value, value, task);
        if (same !== true) return same;
    }
    return true;
}

/** True if a collection tells at once what is under a key. Where a type is redacted the keys of a map are looked at one by one: one
 *  of them may be withheld. */
const isQuick = (key, shape) => typeof key === 'string' && (shape === SHAPE.RECORD || !typesMatter);

const underText = (map, key) => (mapHas(map, key) ? mapGet(map, key) : ABSENT);

function turnFind(task) {
    const { candidates } = task;
    while (candidates.next()) {
        const same = children(task.key, candidates.key);
        if (same === DEEP) return taskOf(task.key, candidates.key, task);
        if (same === FAILED) return FAILED;
        if (same) return task.isMap ? turnValues(task) : true;
    }
    return false;
}

/** The keys are equal: what is left of the search is whether the values are. */
function turnValues(task) {
    const { candidates } = task;
    if (permitKey(task.key) === FAILED || permitKey(candidates.key) === FAILED) return FAILED;
    const same = children(task.value, candidates.value);
    return same === DEEP ? taskOf(task.value, candidates.value, task.below) : same;
}

/** FAILED if what stands under this key is a secret. */
function permitKey(key) {
    const name = plain(key);
    if (typeof name === 'string') return isSecret(name) ? secretName(name) : null;
    if (typeof name !== 'object' || name === null) return null;
    const shape = shapeOf(name);
    if (KIND_OF[shape] !== KIND_BYTES) return null;
    const bytes = bytesOf(name, shape);
    return isSecretBytes(bytes) ? secretName(textOfBytes(bytes)) : null;
}

/** The beginning of a key of bytes as it is shown. */
function textOfBytes(bytes) {
    let text = '';
    for (let index = 0; index < 64 && index < lengthOf(bytes, SHAPE.BYTES); index += 1) {
        text += fromCharCode(bytes[index]);
    }
    return text;
}

/** True if two values are equal, or FAILED. */
function equal(a, b) {
    const same = quick(a, b);
    return same === DEEP ? deep(a, b) : same;
}

/** The same of a child and a value that is no child; counts as a comparison of elements. */
function isChild(child, value) {
    const same = children(child, value);
    return same === DEEP ? deep(child, value) : same;
}

// ---- operators -----------------------------------------------------------------------------------------------------------

/** A variable as the place reads it. */
function variable(value) {
    if (value === ABSENT) return failed(FAILED_UNDEFINED, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
    return admit(value);
}

const not = value => !truth(value);

function len(value) {
    const kind = kindOf(value);
    if (kind === KIND_STRING) return points(plain(value));
    if (kind === KIND_LIST || kind === KIND_SET || kind === KIND_MAP || kind === KIND_BYTES) {
        return sizeOf(value, shapeOf(value));
    }
    return refused(value);
}

function isEmpty(value) {
    const kind = kindOf(value);
    const has =
        kind === KIND_STRING || kind === KIND_LIST || kind === KIND_SET || kind === KIND_MAP || kind === KIND_BYTES;
    return has ? !truth(value) : refused(value);
}

function eq(a, b) {
    if (typeof a === 'number' && typeof b === 'number') return a === b;
    const same = equal(a, b);
    if (same === FAILED) return FAILED;
    return same;
}

function ne(a, b) {
    if (typeof a === 'number' && typeof b === 'number') return a !== b;
    const same = equal(a, b);
    return same === FAILED ? FAILED : !same;
}

const gt = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a > b : ordered(a, b, 0));
const ge = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a >= b : ordered(a, b, 1));
const lt = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a < b : ordered(a, b, 2));
const le = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a <= b : ordered(a, b, 3));

function ordered(left, right, how) {
    const a = plain(left);
    const b = plain(right);
    if (isNumber(a) && isNumber(b)) {
        if (how === 0) return a > b;
        if (how === 1) return a >= b;
        return how === 2 ? a < b : a <= b;
    }
    if (typeof a !== 'string' || typeof b !== 'string') return failed(FAILED_TYPE, kindOf(left), kindOf(right));
    const order = orderOfTexts(a, b);
    if (order === FAILED) return FAILED;
    if (how === 0) return order > 0;
    if (how === 1) return order >= 0;
    return how === 2 ? order < 0 : order <= 0;
}

function contains(of, part) {
    const kind = kindOf(of);
    if (kind === KIND_STRING) {
        const sought = plain(part);
        return typeof sought === 'string'
            ? holdsText(plain(of), sought)
            : failed(FAILED_TYPE, KIND_STRING, kindOf(part));
    }
    if ((typeof of !== 'object' && typeof of !== 'function') || of === null) return refused(of);
    const shape = shapeOf(of);
    if (kind === KIND_BYTES) return holdsByte(bytesOf(of, shape), part);
    if (kind === KIND_LIST) return holdsElement(of, shape, part);
    if (kind === KIND_SET) return holdsMember(of, part);
    if (kind === KIND_MAP) {
        const found = lookUp(of, shape, part);
        return found === FAILED ? FAILED : found !== ABSENT;
    }
    if (shape === SHAPE.WEAK_MAP) return isObject(part) && weakMapHas(of, part);
    if (shape === SHAPE.WEAK_SET) return isObject(part) && weakSetHas(of, part);
    return refused(of);
}

const isObject = value => (typeof value === 'object' && value !== null) || typeof value === 'function';

function holdsByte(bytes, part) {
    const length = lengthOf(bytes, SHAPE.BYTES);
    if (charge(length) !== null) return FAILED;
    const number = plain(part);
    if (!isNumber(number)) return false;
    for (let index = 0; index < length; index += 1) {
        if (bytes[index] == number) return true;
    }
    return false;
}

function holdsElement(list, shape, part) {
    const length = lengthOf(list, shape);
    for (let index = 0; index < length; index += 1) {
        const same = isChild(itemOf(list, index, shape), part);
        if (same !== false) return same;
    }
    return false;
}

function holdsMember(set, part) {
    // A text is in a set once, and the set tells it at once.
    if (isQuick(part, SHAPE.SET) && setHas(set, part)) return true;
    const members = new Children(set, SHAPE.SET);
    while (members.next()) {
        const same = isChild(members.key, part);
        if (same !== false) return same;
    }
    return false;
}

/** The key that was found last: it decides whether its value may be read. */
let foundKey = null;

/** The value under the key of a map that equals a value: ABSENT, COMPUTED, FAILED, or what is there. */
function lookUp(map, shape, key) {
    const name = plain(key);
    if (isQuick(name, shape)) {
        // Its own text was judged already.
        foundKey = null;
        if (countComparison() !== null) return FAILED;
        return shape === SHAPE.MAP ? underText(map, name) : entryOf(map, name);
    }
    const entries = new Children(map, shape);
    while (entries.next()) {
        const same = isChild(entries.key, key);
        if (same === FAILED) return FAILED;
        if (!same) continue;
        foundKey = entries.key;
        return entries.value;
    }
    return ABSENT;
}

/** Both operands of a test as texts: null, or FAILED. */
function bothTexts(text, part) {
    const of = kindOf(text);
    if (of === KIND_NULL || of === KIND_UNDEFINED) return failed(FAILED_NULL, of, of);
    const other = kindOf(part);
    return of === KIND_STRING && other === KIND_STRING ? null : failed(FAILED_TYPE, of, other);
}

function startsWith(text, part) {
    if (bothTexts(text, part) !== null) return FAILED;
    const whole = plain(text);
    const sought = plain(part);
    if (charge(sought.length) !== null) return FAILED;
    return startsWithUnits(whole, sought) && isBetween(whole, sought.length);
}

function endsWith(text, part) {
    if (bothTexts(text, part) !== null) return FAILED;
    const whole = plain(text);
    const sought = plain(part);
    if (charge(sought.length) !== null) return FAILED;
    return endsWithUnits(whole, sought) && isBetween(whole, whole.length - sought.length);
}

/** The core's engine, and the only one ({@link use}). */
let intake = null;

function matches(text, pattern) {
    const regex = patternOf(pattern);
    if (bothTexts(text, regex) !== null) return FAILED;
    const whole = plain(text);
    if (whole.length > layout.MAX_MATCHED) return failed(FAILED_LIMIT, KIND_STRING, KIND_STRING);
    if (charge(whole.length) !== null) return FAILED;
    const found = intake.matches(whole, plain(regex));
    if (found >= 0) return found === 1;
    failed(-1 - found, KIND_STRING, KIND_STRING);
    fault.given = true;
    return FAILED;
}

/** The number of what the value of a metric has yielded, as the core makes it; FAILED if it makes none. */
function number(slot, value) {
    const kind = kindOf(value);
    const type = typeof value;
    const isRead = type === 'boolean' || type === 'number' || type === 'bigint';
    const made = intake.number(slot, isRead ? value : null, kind);
    if (made === made) return made;
    failed(FAILED_TYPE, kind, kind);
    fault.given = true;
    return at(0);
}

/** A regular expression of the program's as a pattern of the core's. */
function patternOf(value) {
    if (typeof value !== 'object' || value === null || shapeOf(value) !== SHAPE.REGEXP) return value;
    let flags = '';
    for (let index = 0; index < inlineFlags.length; index += 1) {
        if (inlineFlags[index][1](value)) flags += inlineFlags[index][0];
    }
    return flags === '' ? patternSource(value) : `(?${flags})${patternSource(value)}`;
}

function substring(of, from, to) {
    const kind = kindOf(of);
    if (kind === KIND_NULL || kind === KIND_UNDEFINED) return failed(FAILED_NULL, kind, kind);
    if (kind !== KIND_STRING) return failed(FAILED_TYPE, kind, KIND_OPAQUE_VALUE);
    const start = position(from);
    const end = to === ABSENT ? Infinity : position(to);
    if (start === FAILED || end === FAILED) return failed(FAILED_TYPE, KIND_STRING, KIND_OPAQUE_VALUE);
    if (start < 0 || end < start) {
        failed(FAILED_BOUNDS, KIND_STRING, KIND_NUMBER);
        fault.first = clamped(start);
        fault.second = end === Infinity ? MOST : clamped(end);
        return FAILED;
    }
    const text = plain(of);
    if (text.length > layout.MAX_COUNTED) return failed(FAILED_LIMIT, KIND_STRING, KIND_OPAQUE_VALUE);
    if (charge(text.length) !== null) return FAILED;
    const first = placeOfPoint(text, 0, toNumber(start));
    return slice(text, first, placeOfPoint(text, first, toNumber(end) - toNumber(start)));
}

/** The index of the code point so many behind an index. */
function placeOfPoint(text, from, count) {
    let index = from;
    for (let seen = 0; seen < count && index < text.length; seen += 1) index += widthAt(text, index);
    return index;
}

function instanceOf(value, wanted) {
    if (value === null) return false;
    const { names } = classOf(value);
    const isQualified = includes(wanted, '.');
    for (let index = 0; index < names.length; index += 1) {
        if (isQualified ? names[index] === wanted : bareName(names[index]) === wanted) return true;
    }
    return false;
}

/** The private members that the code around the hit can read: pairs of a name with its sign and what reads it, which answers ABSENT
 *  for an object that has no such member. */
let privates = null;

/** Says which private members can be read from now on; null: none. */
function see(readable) {
    privates = readable;
}

/** A private member of an object, or ABSENT. */
function privateOf(of, name) {
    if (privates === null || codeUnit(name, 0) !== PRIVATE_SIGN) return ABSENT;
    if ((typeof of !== 'object' && typeof of !== 'function') || of === null) return ABSENT;
    for (let index = 0; index < privates.length; index += 2) {
        const found = privates[index] === name ? privates[index + 1](of) : ABSENT;
        if (found !== ABSENT) return found;
    }
    return ABSENT;
}

/** The member of a value by its name, or FAILED. */
function member(of, name) {
    const own = privateOf(of, name);
    if (own !== ABSENT) return admit(own);
    if (typeof of === 'object' && of !== null) {
        const shape = shapeOf(of);
        if (shape === SHAPE.RECORD) return memberRead(of, entryOf(of, name), KIND_MAP);
        if (shape === SHAPE.INSTANCE) return memberRead(of, fieldOf(of, name), KIND_OBJECT);
        return memberOf(of, name, shape);
    }
    return memberOfPlain(of, name);
}

/** What was read as a member: a value, ABSENT or COMPUTED. */
function memberRead(of, found, kind) {
    if (found === COMPUTED) return computed(kind);
    if (found !== ABSENT) return admit(found);
    failed(FAILED_UNDEFINED, kind, KIND_OPAQUE_VALUE);
    fault.type = typeOf(of);
    return FAILED;
}

function memberOf(of, name, shape) {
    switch (shape) {
        case SHAPE.MAP:
            return memberOfMap(of, name);
        case SHAPE.ERROR: {
            const found = fieldOf(of, name);
            return memberRead(of, found === ABSENT && name === 'message' ? '' : found, KIND_EXCEPTION);
        }
        case SHAPE.DATE:
        case SHAPE.REGEXP:
            return memberRead(of, fieldOf(of, name), KIND_OBJECT);
        case SHAPE.BOXED:
            return memberOfPlain(plain(of), name);
        case SHAPE.ARRAY:
        case SHAPE.ARGUMENTS:
        case SHAPE.TYPED:
        case SHAPE.BYTES:
        case SHAPE.BUFFER:
            return name === 'length' ? sizeOf(of, shape) : refused(of);
        case SHAPE.SET:
            return name === 'size' ? sizeOf(of, shape) : refused(of);
        case SHAPE.ITERATOR:
            return failedOn(FAILED_TYPE, of);
        default:
            return refused(of);
    }
}

function memberOfMap(map, name) {
    const found = lookUp(map, SHAPE.MAP, name);
    if (found === FAILED || (found !== ABSENT && permitKey(foundKey) === FAILED)) return FAILED;
    // A key goes before what the engine answers.
    if (found === ABSENT && name === 'size') return sizeOf(map, SHAPE.MAP);
    return memberRead(map, found, KIND_MAP);
}

function memberOfPlain(of, name) {
    if (typeof of === 'string' && name === 'length') return of.length;
    if (typeof of === 'symbol') return memberRead(of, ABSENT, KIND_OBJECT);
    if (typeof of !== 'function' || shapeOf(of) !== SHAPE.FUNCTION) return refused(of);
    const found = ownOf(of, name);
    if (found === COMPUTED) return computed(KIND_FUNCTION);
    return found === ABSENT ? refused(of) : admit(found);
}

function index(of, key, literal) {
    const name = plain(key);
    if (!literal && typeof name === 'string' && isSecret(name)) return secretName(name);
    if ((typeof of !== 'object' && typeof of !== 'function') || of === null) return refused(of);
    const shape = shapeOf(of);
    switch (KIND_OF[shape]) {
        case KIND_LIST: {
            const found = place(name, lengthOf(of, shape), KIND_LIST);
            if (found === FAILED) return FAILED;
            const item = itemOf(of, found, shape);
            return item === COMPUTED ? computed(KIND_LIST) : admit(item);
        }
        case KIND_BYTES: {
            const bytes = bytesOf(of, shape);
            const found = place(name, lengthOf(bytes, SHAPE.BYTES), KIND_BYTES);
            return found === FAILED ? FAILED : bytes[found];
        }
        case KIND_MAP:
            return indexMap(of, shape, name);
        case KIND_OBJECT:
        case KIND_EXCEPTION:
            if (shape === SHAPE.BOXED) return refused(of);
            return typeof name === 'string' ? indexObject(of, shape, name) : refused(of);
        default:
            return shape === SHAPE.WEAK_MAP && isObject(key) ? indexWeak(of, key) : refused(of);
    }
}

function indexMap(map, shape, key) {
    let name = key;
    if (shape === SHAPE.RECORD && isNumber(key)) {
        name = `${key}`;
        if (isSecret(name)) return secretName(name);
    }
    const found = lookUp(map, shape, name);
    if (found === FAILED || (found !== ABSENT && permitKey(foundKey) === FAILED)) return FAILED;
    if (found === COMPUTED) return computed(KIND_MAP);
    return found === ABSENT ? failed(FAILED_UNDEFINED, KIND_MAP, KIND_OPAQUE_VALUE) : admit(found);
}

function indexObject(object, shape, name) {
    const found = fieldOf(object, name);
    if (shape !== SHAPE.ERROR) return memberRead(object, found, KIND_OBJECT);
    return memberRead(object, found === ABSENT && name === 'message' ? '' : found, KIND_EXCEPTION);
}

function indexWeak(map, key) {
    return weakMapHas(map, key) ? admit(weakMapGet(map, key)) : refused(map);
}

// ---- loops ---------------------------------------------------------------------------------------------------------------

/** A list that no property of `Array.prototype` has a part in. */
function emptyList() {
    const made = [];
    setPrototypeOf(made, null);
    return made;
}

/** A walk over a collection, for a predicate: `it` is the element, of a map the key. */
class Loop {
    constructor(of, shape, kind) {
        this.of = of;
        this.shape = shape;
        this.kind = kind;
        this.isMap = kind === KIND_MAP;
        if (kind === KIND_MAP || kind === KIND_SET) this.children = new Children(of, shape);
        else this.bytes = kind === KIND_BYTES ? bytesOf(of, shape) : null;
        this.length = kind === KIND_BYTES ? lengthOf(this.bytes, SHAPE.BYTES) : sizeOf(of, shape);
    }

    of;
    shape;
    kind;
    isMap;
    children = null;
    bytes = null;
    length;
    next = 0;
    it = undefined;
    kept = null;
}

/** Begins a loop, or FAILED. */
function each(of) {
    if (typeof of !== 'object' || of === null) return refused(of);
    const shape = shapeOf(of);
    const kind = KIND_OF[shape];
    if (kind !== KIND_LIST && kind !== KIND_SET && kind !== KIND_MAP && kind !== KIND_BYTES) return refused(of);
    return new Loop(of, shape, kind);
}

/** Begins a loop that keeps what its predicate holds for. */
function eachKept(of) {
    const loop = each(of);
    if (loop === FAILED) return FAILED;
    if (loop.kind === KIND_SET) loop.kept = new Set();
    else if (loop.kind === KIND_MAP) loop.kept = new Map();
    else loop.kept = emptyList();
    return loop;
}

/** The next round: true, false at the end, or FAILED. */
function round(loop) {
    if (loop.children !== null) {
        if (!loop.children.next()) return false;
        loop.it = loop.children.key;
    } else {
        if (loop.next >= loop.length) return false;
        loop.it = loop.bytes === null ? itemOf(loop.of, loop.next, loop.shape) : loop.bytes[loop.next];
        loop.next += 1;
    }
    if (loop.it === COMPUTED) return computed(KIND_LIST);
    if (admit(loop.it) === FAILED || countPredicate() !== null) return FAILED;
    return true;
}

/** Keeps the element of this round; FAILED if it cannot be read. */
function keep(loop) {
    if (loop.kind === KIND_SET) {
        setAdd(loop.kept, loop.it);
    } else if (loop.kind === KIND_MAP) {
        if (loop.children.value === COMPUTED) return computed(KIND_MAP);
        mapSet(loop.kept, loop.it, loop.children.value);
    } else {
        loop.kept[loop.kept.length] = loop.it;
    }
    return null;
}

/** The key or the value of the entry at which a loop over a map is; without such a loop there is none. */
function entry(loop, isValue) {
    if (loop === null) return failed(FAILED_UNDEFINED, KIND_OPAQUE_VALUE, KIND_OPAQUE_VALUE);
    if (!isValue) return admit(loop.it);
    if (permitKey(loop.it) === FAILED) return FAILED;
    const { value } = loop.children;
    return value === COMPUTED ? computed(KIND_MAP) : admit(value);
}

/** `@it.key`, `@it.value`: the key's own member, or a part of the entry. */
function entryMember(loop, name, isValue) {
    const own = member(loop.it, name);
    if (!loop.isMap || own !== FAILED) return own;
    if (fault.computed || fault.category === FAILED_HOST || goesThrough()) return FAILED;
    return entry(loop, isValue);
}

/** From now on evaluations may take so long, and ask this intake. */
function use(of, milliseconds) {
    intake = of;
    typesMatter = of.hasRedactedTypes();
    budget.milliseconds = milliseconds;
}

module.exports = {
    ABSENT,
    FAILED,
    at,
    begin,
    contains,
    each,
    eachKept,
    endsWith,
    entry,
    entryMember,
    eq,
    fault,
    ge,
    goesThrough,
    gt,
    inTime,
    index,
    instanceOf,
    isEmpty,
    keep,
    kindOf,
    le,
    len,
    lt,
    matches,
    member,
    messageOf,
    ne,
    not,
    number,
    refusedName,
    round,
    see,
    startTime,
    startsWith,
    substring,
    truth,
    typeOf,
    use,
    variable,
};
