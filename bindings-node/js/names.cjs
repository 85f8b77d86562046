// Names and classes of one session: their numbers in its tables, and whether they are secrets. Both are the core's; what it
// has said is kept here. It stands on the walk of a hit, below helpers.cjs and writer.cjs.
'use strict';

const layout = require('./layout.cjs');
const { Map, lengthOfTyped, mapClear, mapGet, mapSet, mapSize } = require('./primordials.cjs');

/** Verdicts on names that have no number: so many are kept, of texts that are no longer than this. */
const VERDICTS = 4096;
const LONGEST = 256;

/** A longer name of a property or class is nobody's, and the core would read all of it at each hit: what has it is withheld. */
const MAX_NAME = 262_144;

/** The core's side ({@link use}). */
let intake = null;
let session = null;
/** Of a name: its number in the table times two, and one more if it is a secret. The table is bounded. */
let numbers = new Map();
const verdicts = new Map();

/** From now on names are those of this intake's session. */
function use(of) {
    intake = of;
    session = {};
    numbers = new Map();
    mapClear(verdicts);
}

/** A name as `number * 2 + (secret ? 1 : 0)`; -1 or, of a secret, -2 if it has no number. */
function nameNumber(name) {
    const known = mapGet(numbers, name);
    if (known !== undefined) return known;
    if (name.length > LONGEST) return isSecret(name) ? -2 : -1;
    const kept = mapGet(verdicts, name);
    if (kept !== undefined) return kept ? -2 : -1;
    const number = intake.name(name);
    if (number >= 0) mapSet(numbers, name, number);
    else keep(name, number === -2);
    return number;
}

/** True if what has this name, or stands under this key, is withheld. Keys are not numbered. */
function isSecret(name) {
    const known = mapGet(numbers, name);
    if (known !== undefined) return (known & 1) === 1;
    if (name.length > LONGEST) return name.length > MAX_NAME || intake.classify(name);
    const kept = mapGet(verdicts, name);
    if (kept !== undefined) return kept;
    const verdict = intake.classify(name);
    keep(name, verdict);
    return verdict;
}

function keep(name, verdict) {
    if (mapSize(verdicts) >= VERDICTS) mapClear(verdicts);
    mapSet(verdicts, name, verdict);
}

/** The same of a key of bytes. */
const isSecretBytes = bytes => lengthOfTyped(bytes) > MAX_NAME || intake.classifyBytes(bytes);

/** The number of a class in the table, times two, and one more if its values are withheld. */
function typeNumber(of) {
    if (of.session === session) return of.type;
    of.type = askType(of.names);
    of.session = session;
    return of.type;
}

function askType(names) {
    for (let index = 0; index < names.length; index += 1) {
        if (names[index].length > MAX_NAME) return layout.NO_TYPE * 2 + 1;
    }
    return names.length === 0 ? layout.NO_TYPE * 2 : intake.typeNumber(names);
}

module.exports = { MAX_NAME, isSecret, isSecretBytes, nameNumber, typeNumber, use };
