// Writes the record of a hit, as the page of `core/src/record/layout.rs` says: values into a buffer that is kept, within limits,
// redacted. It stands on the walk of a hit: hit.cjs says what comes, values.cjs reads, the addon takes the bytes.
//
// It runs no code of the program and never grows its buffer. The walk recurses, no deeper than `MAX_LEVELS`.
'use strict';

const layout = require('./layout.cjs');
const { isSecret, isSecretBytes, nameNumber, typeNumber } = require('./names.cjs');
const {
    BigInt,
    DataView,
    ObjectPrototype,
    Uint32Array,
    allocUnsafeSlow,
    asUintN,
    bufferOf,
    clz32,
    codeUnit,
    dateText,
    dateTime,
    define,
    flags: patternFlags,
    floor,
    isInteger,
    keysOf,
    mapEntries,
    nextOfMap,
    nextOfSet,
    now,
    ofBuffer,
    ofView,
    patternSource,
    prototypeOf,
    setTyped,
    setValues,
    slice,
    sliceOfTyped,
    toNumber,
} = require('./primordials.cjs');
const {
    ABSENT,
    COMPUTED,
    KIND_OF,
    NO_CLASS,
    SHAPE,
    bareName,
    bytesOf,
    classOf,
    cutTo,
    elementOf,
    entryOf,
    hasManyNames,
    isClass,
    isStack,
    isUsual,
    keysIn,
    lengthOf,
    messageOf,
    nameOfFunction,
    namesIn,
    ownOf,
    shapeOf,
    sizeOf,
    symbolsIn,
    textOfSymbol,
    unboxed,
} = require('./values.cjs');
const trace = require('./trace.cjs');

const {
    BIG,
    BYTES,
    COMPUTED: GETTER,
    EXCEPTION,
    FALSE,
    FLOAT,
    FUNCTION,
    HARD_RECORD,
    INLINE,
    INT,
    ITEM_END,
    ITEM_END_POINT,
    ITEM_FAILURE,
    ITEM_NAMED,
    ITEM_POINT,
    ITEM_SECTION,
    ITEM_STACK,
    ITEM_TEMPLATE,
    ITEM_THROWABLE,
    ITERATOR,
    KIND_BYTES,
    LABEL_BYTES,
    LIST,
    MAP,
    MAX_INLINE,
    MAX_LEVELS,
    MAX_RECORD,
    NO_TYPE,
    NULL,
    OBJECT,
    OPAQUE,
    REASON_COLLECTION_SIZE,
    REASON_DEPTH,
    REASON_FIELD_COUNT,
    REASON_NONE,
    REASON_REDACTED_IDENT,
    REASON_REDACTED_TYPE,
    REASON_STRICT,
    REASON_TIMEOUT,
    SCALAR,
    SEALED,
    SECTION_NAMES,
    SET,
    SOFT_RECORD,
    STR_UTF16,
    STR_UTF8,
    TRUE,
    UNDEFINED,
    WITHHELD,
} = layout;

// ---- the buffer ----------------------------------------------------------------------------------------------------------

/** Room behind the largest record: what is written in one go before a size is looked at again. */
const MARGIN = 64 * 1024;

const bytes = allocUnsafeSlow(MAX_RECORD + MARGIN);
const view = new DataView(bufferOf(bytes));
// They are the buffer's own: whoever replaces those of the prototype replaces none of ours.
keep(bytes, ofBuffer);
keep(bytes, { byteLength: MAX_RECORD + MARGIN, length: MAX_RECORD + MARGIN });
keep(view, ofView);

function keep(object, members) {
    const names = keysOf(members);
    for (let index = 0; index < names.length; index += 1) {
        define(object, names[index], { __proto__: null, value: members[names[index]] });
    }
}

/** The header, in words: what is the same in each record stands there, and the rest is written anew for each. Little end first, as
 *  on all machines that the addon is made for. */
const header = new Uint32Array(bufferOf(bytes), 0, layout.HEADER / 4);
const LENGTH = layout.AT_LENGTH / 4;
const PROBE = layout.AT_PROBE / 4;
const WALL = layout.AT_WALL / 4;
const EVENT = layout.AT_EVENT / 4;
const TRACE = layout.AT_TRACE_HIGH / 4;
const DURATION = layout.AT_DURATION / 4;
const FLAGS = layout.AT_FLAGS / 4;
for (let word = 0; word < layout.HEADER / 4; word += 1) header[word] = 0;
header[layout.AT_MAGIC / 4] = layout.MAGIC;
header[layout.AT_LAYOUT / 4] = layout.LAYOUT;

/** The ids where nothing is traced. */
const NO_TRACE = new Uint32Array(6);

/** Where the next byte goes. */
let at = 0;
let flags = 0;
/** At so many steps the clock is read. A value is one, and what may take long takes them all. */
const STEPS = 64;
/** An object of more names, and a longer text, which the engine may have to join first, take long. */
const LONG_NAMES = 256;
const LONG_TEXT = 65_536;
/** Steps since the clock was read. */
let looked = 0;
/** When the time of the point is over; 0 until the clock is first looked at. */
let deadline = 0;
/** The size at which nothing more of this point is read: 0 once its time is over. */
let stop = SOFT_RECORD;
let pointReason = REASON_NONE;
let namesOfSection = 0;
/** Milliseconds of one point. */
let captureTime = 15;

// Under which limits the values are written that come next.
let depth = 0;
let elements = 0;
let length = 0;
let fieldCount = 0;
let isMessage = false;

/** Under strict capture what the core puts into a value's place; else null. */
let sealedOf = null;
/** Numbers and booleans are shown all the same. */
let showsNumbers = false;
/** What is written is the key of a map, or in one. */
let isKey = false;

function u32(number) {
    view.setUint32(at, number, true);
    at += 4;
}

/** A number up to 2^53 as 64 bits. */
function u64(number) {
    view.setUint32(at, number % 4294967296, true);
    view.setUint32(at + 4, floor(number / 4294967296), true);
    at += 8;
}

/** A tag and an argument of 24 bits. */
function word(tag, argument) {
    view.setUint32(at, tag | (argument << 8), true);
    at += 4;
}

// ---- texts ---------------------------------------------------------------------------------------------------------------

/** Up to so many units a loop over them is quicker than a call into the engine. */
const SHORT = 16;

/** Writes ASCII where there is room; false if the text is none, and nothing counts then. */
function ascii(text, count) {
    for (let index = 0; index < count; index += 1) {
        const unit = codeUnit(text, index);
        if (unit > 127) return false;
        bytes[at + index] = unit;
    }
    return true;
}

/** Writes at most so many bytes of UTF-8 and answers how many they are. */
function utf8(text, most) {
    if (text.length <= SHORT && text.length <= most && ascii(text, text.length)) return text.length;
    return bytes.utf8Write(text, at, most);
}

/** Text that stands where it is used: a length of 16 bits and UTF-8, cut with dots if it is too long. */
function inline(text) {
    const start = at;
    at += 2;
    at += cutText(text, MAX_INLINE);
    const size = at - start - 2;
    bytes[start] = size & 255;
    bytes[start + 1] = size >>> 8;
}

/** Writes text of at most so many bytes, the last three of them dots if it is cut, and answers how many bytes they are. */
function cutText(text, most) {
    // A text has at least as many bytes as units, so that nothing long is turned into bytes.
    if (text.length <= most) {
        const whole = bytes.utf8Write(text, at, most + 4);
        if (whole <= most) return whole;
    }
    const size = bytes.utf8Write(slice(text, 0, most), at, most - 3);
    return size + bytes.utf8Write('\u2026', at + size, 3);
}

/** What one text, or bytes, takes of the record at most. */
const share = () => (at >= SOFT_RECORD ? 0 : floor((SOFT_RECORD - at) / 4));

/** A string: its true length, and what the limit leaves of it. Captures count units, messages code points. */
function string(text, level) {
    let limit = isMessage && level === 0 ? layout.MESSAGE_LENGTH : length;
    const most = share();
    if (limit > most) limit = most;
    const size = text.length;
    if (size <= SHORT && size <= limit && ascii16(text, size)) return;
    longString(text, limit);
}

/** A short string in ASCII, whole. */
function ascii16(text, size) {
    const start = at;
    at += 16;
    if (!ascii(text, size)) {
        at = start;
        return false;
    }
    view.setUint32(start, STR_UTF8 | (NO_TYPE << 8), true);
    view.setUint32(start + 4, size, true);
    view.setUint32(start + 8, 0, true);
    view.setUint32(start + 12, size, true);
    at += size;
    return true;
}

function longString(text, limit) {
    let kept = text.length;
    if (kept > LONG_TEXT) looked = STEPS;
    if (isMessage) {
        if (kept > limit) kept = unitsOfPoints(text, limit);
    } else if (kept > limit) {
        kept = limit > 0 && cutsPair(text, limit) ? limit - 1 : limit;
    }
    const shown = kept === text.length ? text : slice(text, 0, kept);
    const start = at;
    at += 16;
    // As many bytes as units: it is ASCII. Else units are written, for it is units that count.
    const written = kept === 0 ? 0 : bytes.utf8Write(shown, at, kept * 3);
    const isAscii = written === kept;
    const used = isAscii ? written : bytes.ucs2Write(shown, at, kept * 2);
    view.setUint32(start, (isAscii ? STR_UTF8 : STR_UTF16) | (NO_TYPE << 8), true);
    // A message's length is told in code points, of a text that was cut in any number above what is there.
    const size = isMessage && !isAscii && kept === text.length ? countPoints(text) : text.length;
    view.setUint32(start + 4, size, true);
    view.setUint32(start + 8, 0, true);
    view.setUint32(start + 12, used, true);
    at += used;
}

const isHigh = unit => (unit & 0xfc00) === 0xd800;
const isLow = unit => (unit & 0xfc00) === 0xdc00;

/** True if a pair of surrogates stands across this place. */
const cutsPair = (text, index) => isHigh(codeUnit(text, index - 1)) && isLow(codeUnit(text, index));

/** Units of the first so many code points. */
function unitsOfPoints(text, limit) {
    let index = 0;
    for (let count = 0; count < limit && index < text.length; count += 1) {
        index += isHigh(codeUnit(text, index)) && isLow(codeUnit(text, index + 1)) ? 2 : 1;
    }
    return index;
}

/** Code points of a text that is not long. */
function countPoints(text) {
    let count = 0;
    for (let index = 0; index < text.length; count += 1) {
        index += isHigh(codeUnit(text, index)) && isLow(codeUnit(text, index + 1)) ? 2 : 1;
    }
    return count;
}

// ---- names and types -----------------------------------------------------------------------------------------------------

/** A name word; true if what has the name is withheld. */
function writeName(name) {
    const number = nameNumber(name);
    if (number >= 0) {
        word(ITEM_NAMED, number >>> 1);
        return (number & 1) === 1;
    }
    word(ITEM_NAMED, INLINE);
    inline(name);
    return number === -2;
}

/** The name of a property: a symbol's is its text. */
const nameOfKey = key => (typeof key === 'symbol' ? textOfSymbol(key) : key);

/** Bytes of a sealed value behind its word and type: a tag, what there is, a hash, a size. */
const SEALED_BODY = 18;

/** The word of a value of a class. */
function typed(tag, of) {
    const number = of === NO_CLASS ? NO_TYPE : floor(typeNumber(of) / 2);
    word(tag, number);
    if (number === INLINE) inline(bareName(of.names[0]));
}

/** Classes whose name the language gives to the tag anyway. */
const ownNames = { __proto__: null };
ownNames[LIST] = 'Array';
ownNames[SET] = 'Set';
ownNames[MAP] = 'Map';
ownNames[OBJECT] = 'Object';
ownNames[EXCEPTION] = 'Error';
ownNames[BYTES] = 'Uint8Array';
ownNames[FUNCTION] = 'Function';

const isOwnName = (tag, of) => of.names.length === 0 || of.names[0] === ownNames[tag];

/** The same, where the tag tells the commonest class. */
function head(tag, of) {
    if (isOwnName(tag, of)) word(tag, NO_TYPE);
    else typed(tag, of);
}

// ---- values --------------------------------------------------------------------------------------------------------------

/** True if nothing more is to be read: the time is over or the record full. */
function isOver() {
    looked += 1;
    if (looked >= STEPS) lookAtClock();
    return at >= stop && over();
}

function lookAtClock() {
    looked = 0;
    const time = now();
    if (deadline === 0) deadline = time + captureTime;
    if (time >= deadline) {
        stop = 0;
        flags |= layout.FLAG_TIMEOUT;
    }
}

function over() {
    if (at >= SOFT_RECORD) flags |= layout.FLAG_FULL;
    return true;
}

/** True if a container at this level is opened. */
const opens = level => level < depth && level < MAX_LEVELS;

/** What stands in the place of a value. */
function withheld(value, reason) {
    const tag = typeOf(WITHHELD, value);
    bytes[at] = reason;
    bytes[at + 1] = tag;
    at += 2;
}

/** The word of what stands in a value's place, with the value's type; answers its tag. */
function typeOf(what, value) {
    const tag = tagOf(value);
    const of = classOf(value);
    // A primitive has its type's name by its tag.
    const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
    if ((isObject && !isOwnName(tag, of)) || typeof value === 'symbol') typed(what, of);
    else word(what, NO_TYPE);
    return tag;
}

/** The same where there is no value. */
function withheldNothing(reason) {
    word(WITHHELD, NO_TYPE);
    bytes[at] = reason;
    bytes[at + 1] = WITHHELD;
    at += 2;
}

const TAG_OF = [];
TAG_OF[SHAPE.INSTANCE] = OBJECT;
TAG_OF[SHAPE.RECORD] = OBJECT;
TAG_OF[SHAPE.ARRAY] = LIST;
TAG_OF[SHAPE.ARGUMENTS] = LIST;
TAG_OF[SHAPE.TYPED] = LIST;
TAG_OF[SHAPE.BYTES] = BYTES;
TAG_OF[SHAPE.BUFFER] = BYTES;
TAG_OF[SHAPE.MAP] = MAP;
TAG_OF[SHAPE.SET] = SET;
TAG_OF[SHAPE.ERROR] = EXCEPTION;
TAG_OF[SHAPE.DATE] = SCALAR;
TAG_OF[SHAPE.REGEXP] = SCALAR;
TAG_OF[SHAPE.BOXED] = OBJECT;
TAG_OF[SHAPE.ITERATOR] = ITERATOR;
TAG_OF[SHAPE.WEAK_MAP] = OPAQUE;
TAG_OF[SHAPE.WEAK_SET] = OPAQUE;
TAG_OF[SHAPE.PROXY] = OPAQUE;
TAG_OF[SHAPE.MODULE] = OPAQUE;
TAG_OF[SHAPE.FUNCTION] = FUNCTION;

function tagOf(value) {
    switch (typeof value) {
        case 'undefined':
            return UNDEFINED;
        case 'boolean':
            return TRUE;
        case 'number':
            return INT;
        case 'bigint':
            return BIG;
        case 'string':
            return STR_UTF16;
        case 'symbol':
            return SCALAR;
        default:
            return value === null ? NULL : TAG_OF[shapeOf(value)];
    }
}

/** A value under a name or key. What is redacted comes before what has no time: a secret is never told as late. */
function child(value, isRedacted, level) {
    if (isRedacted) return withheld(value, REASON_REDACTED_IDENT);
    if (sealedOf !== null) return guarded(value, level);
    return clear(value, level);
}

/** A value as it is. */
function clear(value, level) {
    if (typeof value === 'object' && value !== null) return object(value, level);
    if (isOver()) return withheld(value, REASON_TIMEOUT);
    return scalar(value, level);
}

/** A value under strict capture: the core seals it before anything else is written. In a message only its type is told. */
function guarded(value, level) {
    if (isMessage && !(showsNumbers && isNumber(value))) return typeAlone(value);
    const start = at;
    clear(value, level);
    const end = at;
    const sealed = sealedOf(bytes, start, end, isKey);
    if (sealed === null) return;
    setTyped(bytes, sealed, start);
    at = start + lengthOf(sealed, SHAPE.BYTES);
    for (let index = at; index < end; index += 1) bytes[index] = 0;
}

function isNumber(value) {
    const type = typeof value;
    return type === 'number' || type === 'boolean' || type === 'bigint';
}

function typeAlone(value) {
    const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
    if (isObject && typeNumber(classOf(value)) % 2 === 1) return withheld(value, REASON_REDACTED_TYPE);
    const tag = typeOf(SEALED, value);
    bytes[at] = tag;
    // Neither a hash nor a size.
    for (let index = at + 1; index < at + SEALED_BODY; index += 1) bytes[index] = 0;
    at += SEALED_BODY;
}

function scalar(value, level) {
    switch (typeof value) {
        case 'string':
            return string(value, level);
        case 'number':
            return number(value);
        case 'boolean':
            return word(value ? TRUE : FALSE, NO_TYPE);
        case 'undefined':
            return word(UNDEFINED, NO_TYPE);
        case 'bigint':
            return big(value);
        case 'symbol':
            return label(SCALAR, classOf(value), textOfSymbol(value));
        case 'function':
            return func(value);
        default:
            return word(NULL, NO_TYPE);
    }
}

function number(value) {
    if ((value | 0) === value && (value !== 0 || 1 / value > 0)) {
        view.setUint32(at, INT | (NO_TYPE << 8), true);
        view.setUint32(at + 4, value, true);
        view.setUint32(at + 8, value < 0 ? 0xffffffff : 0, true);
        at += 12;
        return;
    }
    const isWhole = isInteger(value) && value <= 9007199254740991 && value >= -9007199254740991 && value !== 0;
    word(isWhole ? INT : FLOAT, NO_TYPE);
    if (isWhole) {
        const high = floor(value / 4294967296);
        view.setUint32(at, value - high * 4294967296, true);
        view.setUint32(at + 4, high, true);
    } else {
        view.setFloat64(at, value, true);
    }
    at += 8;
}

/** Beyond this an integer is asked for its digits in native code, where a digit costs nothing. */
const HUGE = 1n << 4096n;
const NEGATIVE_HUGE = -HUGE;
/** Beyond this even a copy takes too long: only what is left of it when its lower bits are shifted out is asked for. */
const VAST = 1n << 4_194_304n;
const NEGATIVE_VAST = -VAST;
/** Bits of the largest integer that the engine makes, and how many are shifted out less and less. */
const LARGEST_SHIFT = 1_073_741_824;
const SHIFT_STEP = 2_097_152;

/** The way to the digits of a huge integer ({@link use}). */
let hugeDigits = null;

function big(value) {
    word(BIG, NO_TYPE);
    // Two integers are compared by their lengths first.
    if (value >= HUGE || value <= NEGATIVE_HUGE) return huge(value);
    const isNegative = value < 0n;
    const magnitude = isNegative ? -value : value;
    bytes[at] = isNegative ? 1 : 0;
    bytes[at + 1] = 32;
    at += 2;
    const start = at;
    at += 16;
    let count = 0;
    let top = 0;
    for (let rest = magnitude; rest > 0n; rest >>= 32n) {
        top = toNumber(asUintN(32, rest));
        u32(top);
        count += 1;
    }
    const end = at;
    at = start;
    u64(count === 0 ? 0 : (count - 1) * 32 + 32 - clz32(top));
    u32(0);
    u32(count);
    at = end;
}

function huge(value) {
    const dropped = value >= VAST || value <= NEGATIVE_VAST ? vastShift(value) : 0;
    const digits = hugeDigits(dropped === 0 ? value : upper(value, dropped));
    const start = at;
    setTyped(bytes, digits, at);
    at += lengthOf(digits, SHAPE.BYTES);
    if (dropped === 0) return;
    // Digits are of 32 bits, and the bits of the magnitude and how many digits are left out stand before them.
    view.setUint32(start + 2, view.getUint32(start + 2, true) + dropped, true);
    view.setUint32(start + 10, view.getUint32(start + 10, true) + dropped / 32, true);
}

/** The most lower bits, in steps, that leave something when they are shifted out. What leaves nothing costs nothing. */
function vastShift(value) {
    const nothing = value < 0n ? -1n : 0n;
    let shift = LARGEST_SHIFT;
    while (shift > 0 && value >> BigInt(shift) === nothing) shift -= SHIFT_STEP;
    return shift - SHIFT_STEP;
}

/** The magnitude's upper bits with the sign. To shift rounds down: that is mended unless only zeros go, which is judged by 64 bits, as
 *  it is the last bit of millions. */
function upper(value, shift) {
    const rest = value >> BigInt(shift);
    return value > 0n || asUintN(64, value) === 0n ? rest : rest + 1n;
}

/** A text of ours: of a well-known scalar, or the name of a function. */
function label(tag, of, text) {
    head(tag, of);
    const start = at;
    at += 4;
    at += cutText(text, LABEL_BYTES);
    view.setUint32(start, at - start - 4, true);
}

function func(value) {
    const of = classOf(value);
    if (typeNumber(of) % 2 === 1) return withheld(value, REASON_REDACTED_TYPE);
    if (shapeOf(value) === SHAPE.PROXY) return typed(OPAQUE, of);
    const name = cutTo(nameOfFunction(value), LABEL_BYTES);
    if (!isClass(value)) return label(FUNCTION, of, name);
    word(FUNCTION, INLINE);
    inline(name === '' ? 'class' : `class ${name}`);
    const start = at;
    at += 4;
    at += cutText(name, LABEL_BYTES);
    view.setUint32(start, at - start - 4, true);
}

/** Classes are asked for their verdict before anything of the value is read. */
function object(value, level) {
    const of = classOf(value);
    if (typeNumber(of) % 2 === 1) return withheld(value, REASON_REDACTED_TYPE);
    if (isOver()) return withheld(value, REASON_TIMEOUT);
    const shape = shapeOf(value);
    switch (shape) {
        case SHAPE.RECORD:
            return isMessage ? record(value, level) : fields(value, of, level);
        case SHAPE.INSTANCE:
            return fields(value, of, level);
        case SHAPE.ARRAY:
        case SHAPE.ARGUMENTS:
            return list(value, of, shape, level);
        case SHAPE.MAP:
            return map(value, of, level);
        case SHAPE.SET:
            return set(value, of, level);
        default:
            return seldom(value, of, shape, level);
    }
}

function seldom(value, of, shape, level) {
    switch (shape) {
        case SHAPE.TYPED:
            return list(value, of, shape, level);
        case SHAPE.BYTES:
        case SHAPE.BUFFER:
            return binary(bytesOf(value, shape), of);
        case SHAPE.ERROR:
            return isMessage ? error(value, of, level) : fields(value, of, level);
        case SHAPE.DATE:
            return label(SCALAR, of, textOfDate(value));
        case SHAPE.REGEXP:
            return label(SCALAR, of, textOfPattern(value));
        case SHAPE.BOXED:
            return scalar(unboxed(value), level);
        case SHAPE.ITERATOR:
            return iterator(of);
        default:
            return typed(OPAQUE, of);
    }
}

function textOfDate(date) {
    const time = dateTime(date);
    return time === time ? dateText(date) : 'Invalid Date';
}

function textOfPattern(pattern) {
    let flagText = '';
    for (let index = 0; index < patternFlags.length; index += 1) {
        if (patternFlags[index][1](pattern)) flagText += patternFlags[index][0];
    }
    return `/${cutTo(patternSource(pattern), LABEL_BYTES)}/${flagText}`;
}

/** Nothing of it can be shown: walking it would consume it. */
function iterator() {
    word(ITERATOR, NO_TYPE);
    u32(0);
}

function error(value, of, level) {
    head(EXCEPTION, of);
    const message = messageOf(value);
    if (message === null) word(NULL, NO_TYPE);
    else child(message, false, level);
}

function binary(data, of) {
    head(BYTES, of);
    const size = lengthOf(data, SHAPE.BYTES);
    let kept = isMessage ? layout.MESSAGE_BYTES : length;
    const most = share();
    if (kept > most) kept = most;
    if (kept > size) kept = size;
    u64(size);
    u32(kept);
    for (let index = 0; index < kept; index += 1) bytes[at + index] = data[index];
    at += kept;
}

// ---- containers ----------------------------------------------------------------------------------------------------------

/** The end word of a container: how many children there are, and why not more. */
function close(place, count, reason) {
    view.setUint32(place, count | (reason << 24), true);
}

/** The word, the size and the place of the end word. */
function open(tag, of, size) {
    head(tag, of);
    u64(size);
    at += 4;
    return at - 4;
}

/** The reason of a container that is not opened. */
const unopened = isEmptyOne => (isMessage && isEmptyOne ? REASON_NONE : REASON_DEPTH);

function list(value, of, shape, level) {
    const size = lengthOf(value, shape);
    const end = open(LIST, of, size);
    if (!opens(level)) return close(end, 0, unopened(size === 0));
    const most = size < elements ? size : elements;
    const usual = shape === SHAPE.ARRAY && isUsual(value);
    let reason = most < size ? REASON_COLLECTION_SIZE : REASON_NONE;
    let count = 0;
    while (count < most) {
        if (at >= stop) {
            reason = REASON_TIMEOUT;
            break;
        }
        const item = shape === SHAPE.TYPED ? value[count] : elementOf(value, count, usual);
        if (item === COMPUTED) word(GETTER, NO_TYPE);
        else child(item, false, level + 1);
        count += 1;
    }
    close(end, count, reason);
}

function set(value, of, level) {
    const size = sizeOf(value, SHAPE.SET);
    const end = open(SET, of, size);
    if (!opens(level)) return close(end, 0, unopened(size === 0));
    let reason = elements < size ? REASON_COLLECTION_SIZE : REASON_NONE;
    let count = 0;
    const walk = setValues(value);
    while (count < elements) {
        const step = nextOfSet(walk);
        if (step.done) break;
        if (at >= stop) {
            reason = REASON_TIMEOUT;
            break;
        }
        child(step.value, false, level + 1);
        count += 1;
    }
    close(end, count, reason);
}

function map(value, of, level) {
    const size = sizeOf(value, SHAPE.MAP);
    const end = open(MAP, of, size);
    if (!opens(level)) return close(end, 0, unopened(size === 0));
    let reason = elements < size ? REASON_COLLECTION_SIZE : REASON_NONE;
    let count = 0;
    const walk = mapEntries(value);
    while (count < elements) {
        const step = nextOfMap(walk);
        if (step.done) break;
        if (at >= stop) {
            reason = REASON_TIMEOUT;
            break;
        }
        const key = step.value[0];
        const isRedacted = isSecretKey(key);
        const isInKey = isKey;
        isKey = true;
        child(key, false, level + 1);
        isKey = isInKey;
        child(step.value[1], isRedacted, level + 1);
        count += 1;
    }
    close(end, count, reason);
}

/** True if what stands under a key of a map is withheld. */
function isSecretKey(key) {
    if (typeof key === 'string') return isSecret(key);
    if (typeof key === 'symbol') return isSecret(textOfSymbol(key));
    if (typeof key !== 'object' || key === null) return false;
    const shape = shapeOf(key);
    if (shape === SHAPE.BOXED) return isSecretKey(unboxed(key));
    return KIND_OF[shape] === KIND_BYTES && isSecretBytes(bytesOf(key, shape));
}

/** A plain object in a message: a map with keys that are texts. */
function record(value, level) {
    if (hasManyNames(value)) return withheld(value, REASON_TIMEOUT);
    const keys = keysIn(value);
    const size = keys.length;
    if (size > LONG_NAMES) looked = STEPS;
    word(MAP, NO_TYPE);
    u64(size);
    at += 4;
    const end = at - 4;
    if (!opens(level)) return close(end, 0, unopened(size === 0));
    let reason = elements < size ? REASON_COLLECTION_SIZE : REASON_NONE;
    let count = 0;
    while (count < elements && count < size) {
        if (at >= stop) {
            reason = REASON_TIMEOUT;
            break;
        }
        const key = keys[count];
        child(key, false, level + 1);
        const found = entryOf(value, key);
        if (found === COMPUTED) word(GETTER, NO_TYPE);
        else child(found, isSecret(key), level + 1);
        count += 1;
    }
    close(end, count, reason);
}

/** The private fields of the class in which the hit is: pairs of a name and what reads it ({@link readPrivates}). */
let privates = null;
/** What a reader answers for an object that has no such field. */
let none = null;

/** An object by its own properties, enumerable or not, then those under symbols, then private ones. */
function fields(value, of, level) {
    head(OBJECT, of);
    at += 4;
    const end = at - 4;
    if (!opens(level)) return close(end, 0, isMessage && !hasField(value) ? REASON_NONE : REASON_DEPTH);
    const names = namesIn(value);
    const hasMore = hasManyNames(value);
    const symbols = symbolsIn(value, names);
    const plain = names.length;
    const all = plain + symbols.length;
    if (all > LONG_NAMES) looked = STEPS;
    let count = 0;
    for (let index = 0; index < all; index += 1) {
        const key = index < plain ? names[index] : symbols[index - plain];
        const found = ownOf(value, key);
        // Since its name was asked for it may have gone.
        if (found === ABSENT) continue;
        if (found === COMPUTED && (isMessage || isStack(value, key))) continue;
        const reason = whyNotMore(count);
        if (reason !== REASON_NONE) return close(end, count, reason);
        field(nameOfKey(key), found, level);
        count += 1;
    }
    if (hasMore) return close(end, count, REASON_FIELD_COUNT);
    if (privates !== null && prototypeOf(value) !== ObjectPrototype) return privateFields(value, level, end, count);
    close(end, count, REASON_NONE);
}

function whyNotMore(count) {
    if (count === fieldCount) return REASON_FIELD_COUNT;
    return at >= stop ? REASON_TIMEOUT : REASON_NONE;
}

function field(name, found, level) {
    const isRedacted = writeName(name);
    if (found !== COMPUTED) return child(found, isRedacted, level + 1);
    if (isRedacted) return withheldNothing(REASON_REDACTED_IDENT);
    word(GETTER, NO_TYPE);
}

function privateFields(value, level, end, before) {
    let count = before;
    for (let index = 0; index < privates.length; index += 2) {
        const found = privates[index + 1](value);
        if (found === none) continue;
        const reason = whyNotMore(count);
        if (reason !== REASON_NONE) return close(end, count, reason);
        field(privates[index], found, level);
        count += 1;
    }
    close(end, count, REASON_NONE);
}

/** True if a message would show a field of an object. */
function hasField(value) {
    const names = namesIn(value);
    for (let index = 0; index < names.length; index += 1) {
        if (ownOf(value, names[index]) !== COMPUTED) return true;
    }
    return symbolsIn(value, names).length > 0;
}

// ---- the record ----------------------------------------------------------------------------------------------------------

// 128 pseudo-random bits an event: unguessable is not needed, unique is.
const random = new Uint32Array(4);

/** The next 32 bits (xoshiro128++, from a seed of the system's). */
function nextRandom() {
    const sum = (random[0] + random[3]) | 0;
    const result = (((sum << 7) | (sum >>> 25)) + random[0]) | 0;
    const shifted = random[1] << 9;
    random[2] ^= random[0];
    random[3] ^= random[1];
    random[1] ^= random[2];
    random[0] ^= random[3];
    random[2] ^= shifted;
    random[3] = (random[3] << 11) | (random[3] >>> 21);
    return result;
}

/** Begins a record. `duration` in milliseconds, below 0 if it is not known. */
function begin(probe, wall, duration) {
    header[PROBE] = probe;
    writeWall(wall);
    for (let word = EVENT; word < EVENT + 4; word += 1) header[word] = nextRandom();
    writeTrace(trace.find() ? trace.words : NO_TRACE);
    flags = 0;
    if (duration >= 0) setDuration(duration);
    at = layout.HEADER;
    isKey = false;
    resetPoint();
}

/** Writes six words of ids, the most significant first of each: two numbers of the trace, one of the span. */
function writeTrace(words) {
    for (let word = 0; word < 6; word += 2) {
        header[TRACE + word] = words[word + 1];
        header[TRACE + word + 1] = words[word];
    }
}

/** Whole milliseconds since the epoch as nanoseconds: more than a double holds, so in two parts of which none is rounded. */
function writeWall(milliseconds) {
    const upper = floor(milliseconds / 2097152) * 1e6;
    const lower = (upper % 2048) * 2097152 + (milliseconds % 2097152) * 1e6;
    header[WALL] = lower % 4294967296;
    header[WALL + 1] = floor(upper / 2048) + floor(lower / 4294967296);
}

function setDuration(milliseconds) {
    const nanoseconds = floor(milliseconds * 1e6);
    flags |= layout.FLAG_DURATION;
    header[DURATION] = nanoseconds % 4294967296;
    header[DURATION + 1] = floor(nanoseconds / 4294967296);
}

/** Time is counted anew. */
function resetPoint() {
    looked = 0;
    deadline = 0;
    stop = SOFT_RECORD;
    pointReason = REASON_NONE;
    privates = null;
}

/** Values that come next are written under a probe's limits. */
function useLimits(limits) {
    isMessage = false;
    depth = limits.depth;
    elements = limits.elements;
    length = limits.length;
    fieldCount = limits.fields;
}

function useMessageLimits() {
    isMessage = true;
    depth = layout.MESSAGE_DEPTH;
    elements = layout.MESSAGE_ELEMENTS;
    length = layout.MESSAGE_INNER_LENGTH;
    fieldCount = layout.MESSAGE_FIELDS;
}

/** Objects of the class of this place are asked for their private fields too. */
function readPrivates(readers, absent) {
    privates = readers;
    none = absent;
}

/** The value of a template's segment. `isOwn`: a number or a truth of the expression's own, which strict capture shows too. */
function template(segment, value, isOwn) {
    if (at > HARD_RECORD) return void (flags |= layout.FLAG_FULL);
    useMessageLimits();
    word(ITEM_TEMPLATE, segment);
    yielded(value, isOwn);
}

/** What an expression has yielded. */
function yielded(value, isOwn) {
    if (isOwn && isNumber(value)) clear(value, 0);
    else child(value, false, 0);
}

/** A failure that the core has encoded: at the place `PLACE_*` with an index. */
function failure(place, index, encoded) {
    if (at > HARD_RECORD) return void (flags |= layout.FLAG_FULL);
    const size = lengthOf(encoded, SHAPE.BYTES);
    word(ITEM_FAILURE, place | (index << 8));
    u32(size);
    setTyped(bytes, encoded, at);
    at += size;
}

/** This is an event about an evaluation that failed: it carries no captures. */
function markError() {
    flags |= layout.FLAG_ERROR;
}

/** Opens a point: `POINT_*`, and the line. */
function point(what, line) {
    resetPoint();
    word(ITEM_POINT, what);
    u32(line);
}

function section(which) {
    namesOfSection = 0;
    word(ITEM_SECTION, which);
}

/** True if the open section takes one more name. */
function admits() {
    if (namesOfSection === SECTION_NAMES) {
        pointReason = REASON_FIELD_COUNT;
        return false;
    }
    if (at > HARD_RECORD) {
        pointReason = REASON_TIMEOUT;
        flags |= layout.FLAG_FULL;
        return false;
    }
    namesOfSection += 1;
    return true;
}

/** A variable of the open section; false: it takes no more. */
function variable(name, value) {
    if (!admits()) return false;
    child(value, writeName(name), 0);
    return true;
}

/** A capture expression, whose name is the author's and is not judged. */
function expression(name, value, isOwn) {
    if (!admits()) return;
    word(ITEM_NAMED, INLINE);
    inline(name);
    yielded(value, isOwn);
}

/** A capture expression for which there was no time. */
function notReached(name) {
    if (!admits()) return;
    word(ITEM_NAMED, INLINE);
    inline(name);
    withheldNothing(REASON_TIMEOUT);
}

/** What was thrown: its class, its message, and no stack but the hit's own. */
function throwable(value) {
    const of = classOf(value);
    const number = typeNumber(of);
    typed(ITEM_THROWABLE, of);
    isMessage = false;
    length = layout.THROWABLE_LENGTH;
    const isError = typeof value === 'object' && value !== null && shapeOf(value) === SHAPE.ERROR;
    const message = isError ? messageOf(value) : value;
    if (number % 2 === 1) withheldNothing(REASON_REDACTED_TYPE);
    else if (sealedOf !== null) withheldNothing(REASON_STRICT);
    else if (typeof message === 'string') child(message, false, 0);
    else word(NULL, NO_TYPE);
    word(ITEM_STACK, 0);
}

function endPoint() {
    word(ITEM_END_POINT, pointReason);
    privates = null;
}

/** The stack: pairs of a code and a position, innermost first. */
function stack(frames, count) {
    word(ITEM_STACK, count);
    for (let index = 0; index < count * 2; index += 1) u32(frames[index]);
}

/** Sets a record aside that is half written: other hits come before the rest of it. */
const suspend = () => ({ bytes: sliceOfTyped(bytes, 0, at), flags });

/** Goes on with a record that was set aside. */
function resume(suspended) {
    at = lengthOf(suspended.bytes, SHAPE.BYTES);
    setTyped(bytes, suspended.bytes, 0);
    flags = suspended.flags;
    resetPoint();
}

/** Ends the record and answers its length; the bytes are `buffer`. */
function finish() {
    word(ITEM_END, 0);
    header[LENGTH] = at;
    header[FLAGS] = flags;
    return at;
}

/** From now on points may take so long; `digits` gives those of a huge integer as they stand in a record, `seed` is random. The
 *  thread, by its number and the number of its name, is the same in each record. `strict`: bit 0 asks for strict capture, in which
 *  `sealed` gives what stands in a value's place, bit 1 has numbers shown. */
function use({ milliseconds, digits, seed, thread, threadName, sealed, strict }) {
    captureTime = milliseconds;
    hugeDigits = digits;
    sealedOf = (strict & 1) !== 0 ? sealed : null;
    showsNumbers = (strict & 2) !== 0;
    setTyped(random, seed);
    header[layout.AT_THREAD / 4] = thread;
    header[layout.AT_THREAD_NAME / 4] = threadName;
}

module.exports = {
    begin,
    buffer: bytes,
    endPoint,
    expression,
    failure,
    finish,
    markError,
    notReached,
    point,
    readPrivates,
    resume,
    section,
    setDuration,
    stack,
    suspend,
    template,
    throwable,
    use,
    useLimits,
    variable,
};
