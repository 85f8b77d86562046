// Runs vector files with real JavaScript values: `node run-vectors.mjs FILE…` prints each failure and `N passed, N failed`.
//
// Values are built as a program would have them: classes with ancestors, fields, getters that count, functions, generators, proxies
// whose every trap counts. They go through the code that a probe's hit runs, written by the addon for them; no session is needed.
// What the binding has no part in (definitions, locations, statuses, rates, pruning, the number of a metric) is decided by the core
// alone and counted as skipped; `cargo run -p xtask -- vectors` runs it.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

const require = createRequire(import.meta.url);
const addon = require('../js/addon.cjs');
const { hits, known } = require('../js/hit.cjs');

const SECRET = 's3cr3t-value';
const CORE_ALONE = ['definition', 'file', 'path', 'line', 'status', 'rates', 'prune', 'metric'];

/** The vector cannot be run here; the text says why. */
export class Skipped extends Error {}
/** The text says what was expected and what came. */
export class Failed extends Error {}

// ---- reading -------------------------------------------------------------------------------------------------------------

/** A number as it is written: whole ones beyond 2^53 and fractions of zero are told apart by their text. */
class Numeral {
    constructor(text) {
        this.text = text;
    }

    get isWhole() {
        return /^-?[0-9]+$/.test(this.text);
    }

    get value() {
        const number = Number(this.text);
        return !this.isWhole || Number.isSafeInteger(number) ? number : BigInt(this.text);
    }
}

const TOKEN = /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)|(true|false|null))/y;

/** JSON with its texts: objects are Maps (their order and `__proto__` count), numbers are Numerals, and `raw` has the text of each
 *  member of an object. */
class Reader {
    constructor(text) {
        this.text = text;
        this.at = 0;
    }

    token() {
        TOKEN.lastIndex = this.at;
        const found = TOKEN.exec(this.text);
        if (found === null) throw new Error(`no JSON at ${this.at}`);
        this.at = TOKEN.lastIndex;
        return found;
    }

    /** @returns {unknown} */
    value(level = 0) {
        const [whole, mark, string, numeral, word] = this.token();
        if (string !== undefined) return JSON.parse(string);
        if (numeral !== undefined) return new Numeral(numeral);
        if (word !== undefined) return JSON.parse(word);
        if (mark === '{') return this.object(level);
        if (mark === '[') return this.array(level);
        throw new Error(`no JSON at ${this.at - whole.length}`);
    }

    peek() {
        const at = this.at;
        const [, mark] = this.token();
        this.at = at;
        return mark;
    }

    object(level) {
        const made = new Map();
        made.raw = new Map();
        if (this.peek() === '}') {
            this.token();
            return made;
        }
        for (;;) {
            const name = this.value();
            if (typeof name !== 'string' || this.token()[1] !== ':') throw new Error(`no JSON at ${this.at}`);
            // Deeper down it may be what a vector is about.
            if (level < 2 && made.has(name)) throw new Error(`the field '${name}' is there twice`);
            const start = this.at;
            made.set(name, this.value(level + 1));
            made.raw.set(name, this.text.slice(start, this.at).trim());
            const [, mark] = this.token();
            if (mark === '}') return made;
            if (mark !== ',') throw new Error(`no JSON at ${this.at}`);
        }
    }

    array(level) {
        const made = [];
        if (this.peek() === ']') {
            this.token();
            return made;
        }
        for (;;) {
            made.push(this.value(level));
            const [, mark] = this.token();
            if (mark === ']') return made;
            if (mark !== ',') throw new Error(`no JSON at ${this.at}`);
        }
    }
}

const isObject = value => value instanceof Map;

/** The vectors of a file's text. */
export function read(text) {
    const reader = new Reader(text.replace(/^\uFEFF/, ''));
    const head = reader.value();
    if (!isObject(head)) throw new Error('it is no JSON object');
    if (reader.text.slice(reader.at).trim() !== '') throw new Error('there is more behind its end');
    const format = head.get('format');
    if (!(format instanceof Numeral) || format.text !== '1') throw new Error(`format ${format?.text} is not known, only 1`);
    const vectors = head.get('vectors');
    if (!Array.isArray(vectors) || !vectors.every(isObject)) throw new Error('its vectors are no array of objects');
    if (vectors.length === 0) throw new Error('there are no vectors in it');
    return vectors;
}

// ---- what a vector may hold ----------------------------------------------------------------------------------------------

/** The runner of the core reads the same file, and says there how it is written. */
const SHAPES = new Reader(
    readFileSync(fileURLToPath(new URL('../../tests/toys/shape.json', import.meta.url)), 'utf8'),
).value();

/** Fails if a vector holds anything that its kind does not know, or not all that it must. */
function checkShape(vector) {
    const kind = vector.get('kind');
    const shape = SHAPES.get('kinds').get(kind);
    if (shape === undefined) throw new Failed(`unknown kind '${kind}'`);
    fits(new Map([...SHAPES.get('of_all'), ...shape]), vector, 'the vector');
}

function fits(shape, found, place) {
    if (typeof shape === 'string') return fitsSimple(shape, found, place);
    if (Array.isArray(shape)) {
        if (!Array.isArray(found)) throw new Failed(`${place} is no array`);
        return found.forEach((inner, at) => fits(shape[0], inner, `${place}[${at}]`));
    }
    if (shape.has('either')) return fitsOne(shape.get('either'), found, place);
    if (!isObject(found)) throw new Failed(`${place} is no object`);
    const members = new Map([...shape].map(([name, inner]) => [name.replace(/\?$/, ''), inner]));
    for (const [name, inner] of found) {
        if (!members.has(name) && !members.has('*')) throw new Failed(`${place} has an unknown field '${name}'`);
        fits(members.get(name) ?? members.get('*'), inner, `${place}.${name}`);
    }
    for (const name of shape.keys()) {
        if (name !== '*' && !name.endsWith('?') && !found.has(name)) throw new Failed(`${place} has no '${name}'`);
    }
}

function fitsOne(shapes, found, place) {
    const reasons = [];
    for (const shape of shapes) {
        try {
            return fits(shape, found, place);
        } catch (reason) {
            if (!(reason instanceof Failed)) throw reason;
            reasons.push(reason.message);
        }
    }
    throw new Failed(reasons.join(', or '));
}

function fitsSimple(name, found, place) {
    if (name === 'value') return fitsValue(found, place);
    if (name.startsWith('#')) return fits(SHAPES.get('named').get(name), found, place);
    const fine = {
        any: () => true,
        text: () => typeof found === 'string',
        bool: () => typeof found === 'boolean',
        true: () => found === true,
        count: () => found instanceof Numeral && /^[0-9]+$/.test(found.text),
    }[name];
    const isFine = fine ? fine() : typeof found === 'string' && name.slice(1).split('|').includes(found);
    if (!isFine) throw new Failed(`${place} is not ${name}`);
}

function fitsValue(found, place) {
    if (Array.isArray(found)) return found.forEach(inner => fitsValue(inner, place));
    if (!isObject(found)) return;
    const tags = SHAPES.get('tags');
    const tagged = tagOf(found);
    if (tagged !== null) {
        if (!tags.has(tagged)) throw new Failed(`unknown tag ${tagged}`);
        return fits(tags.get(tagged), found.get(tagged), `${place}.${tagged}`);
    }
    for (const [name, inner] of found) {
        if (tags.has(name)) throw new Failed(`${place} has the tag ${name} beside other members`);
        fitsValue(inner, place);
    }
}

/** The tag of a written value, or null. */
function tagOf(value) {
    if (!isObject(value) || value.size !== 1) return null;
    const [name] = value.keys();
    return name.startsWith('$') ? name : null;
}

// ---- the world of a vector -----------------------------------------------------------------------------------------------

/** What ran of the program's code. */
export const ran = [];

const runs = what => () => {
    ran.push(what);
    throw new Error(`${what} ran`);
};

/** A proxy whose every trap counts. */
function opaque() {
    const traps = Object.getOwnPropertyNames(Reflect);
    return new Proxy({}, Object.fromEntries(traps.map(trap => [trap, runs(`the trap ${trap}`)])));
}

/** A function of its own whose name is the one given. */
const functionNamed = name => Object.defineProperty(() => runs('a function')(), 'name', { value: name });

/** Builds the values of one vector and knows what each was written as. */
export class World {
    written = new Map();
    classes = new Map();
    turn = 0;

    variables(written) {
        return new Map([...(written ?? new Map())].map(([name, value]) => [name, this.build(value)]));
    }

    build(value) {
        if (Array.isArray(value)) return value.map(inner => this.build(inner));
        if (value instanceof Numeral) return value.value;
        const tag = tagOf(value);
        if (tag !== null) return this.tagged(tag, value.get(tag), value);
        return isObject(value) ? this.record(value) : value;
    }

    record(members) {
        this.turn += 1;
        const made = this.turn % 3 === 0 ? Object.create(null) : {};
        for (const [name, value] of members) this.put(made, name, value);
        return made;
    }

    put(object, name, written) {
        if (tagOf(written) === '$unreadable') throw new Skipped('JavaScript reads every field of an instance');
        const value = this.build(written);
        Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
    }

    /** The prototype for a value of a class, with those of its ancestors behind it. */
    prototype(inner, root, bare) {
        const line = [inner.get('class'), ...(inner.get('bases') ?? [])];
        let parent = root;
        for (let depth = line.length - 1; depth >= 0; depth -= 1) {
            const key = JSON.stringify([root.constructor.name, bare, line.slice(depth)]);
            if (!this.classes.has(key)) this.classes.set(key, this.makeClass(line[depth], parent, bare));
            parent = this.classes.get(key);
        }
        return parent;
    }

    makeClass(name, parent, bare) {
        const made = Object.create(parent);
        const value = Object.defineProperty(class {}, 'name', { value: bare ? name.split('.').at(-1) : name });
        Object.defineProperty(made, 'constructor', { value, writable: true, configurable: true });
        Object.defineProperty(made, 'toString', { value: runs('toString'), configurable: true });
        Object.defineProperty(made, Symbol.toPrimitive, { get: runs('toPrimitive'), configurable: true });
        return made;
    }

    remember(made, value) {
        this.written.set(made, value);
        return made;
    }

    fill(made, inner) {
        for (const [name, value] of inner.get('fields') ?? []) this.put(made, name, value);
        for (const name of inner.get('getters') ?? []) {
            Object.defineProperty(made, name, { get: runs(`the getter ${name}`), enumerable: true, configurable: true });
        }
        return made;
    }

    tagged(tag, inner, value) {
        switch (tag) {
            case '$undefined':
                return undefined;
            case '$int':
                return Number.isSafeInteger(Number(inner)) ? Number(inner) : BigInt(inner);
            case '$float':
                return this.float(Number(inner));
            case '$bytes':
                return this.bytes(inner);
            case '$record':
                return this.record(inner);
            case '$map':
                return this.map(inner);
            case '$set':
                return this.set(inner);
            case '$object':
                return this.remember(this.fill(Object.create(this.prototype(inner, Object.prototype, this.bare)), inner), value);
            case '$exception':
                return this.exception(inner, value);
            case '$function':
                return this.remember(functionNamed(inner), value);
            case '$iterator':
                return this.remember(this.iterator(), value);
            case '$opaque':
                return this.remember(opaque(), value);
            default:
                return this.long(tag, inner);
        }
    }

    /** True if there is a whole float: in JavaScript it is an integer, and is written as one. */
    hasWholeFloat = false;

    float(number) {
        this.hasWholeFloat ||= Number.isSafeInteger(number);
        return number;
    }

    /** Classes are called by their bare names in captures. */
    bare = false;

    bytes(hex) {
        this.turn += 1;
        const made = Buffer.from(hex, 'hex');
        return this.turn % 2 === 0 ? made : new Uint8Array(made);
    }

    /** True if there is a map, which answers `size` where it has no such key: one of a neutral host does not. */
    hasMap = false;

    map(inner) {
        this.hasMap = true;
        const made = new Map();
        for (const [key, value] of inner) {
            const built = this.once(this.build(key), one => made.has(one));
            made.set(built, this.build(value));
        }
        return made;
    }

    set(inner) {
        const made = new Set();
        for (const member of inner) {
            made.add(this.once(this.build(member), one => made.has(one)));
        }
        return made;
    }

    once(value, has) {
        if (has(value) || Object.is(value, -0)) throw new Skipped('a key or member that JavaScript holds only once');
        return value;
    }

    /** True if there is an error without a `name` of its own: it has that of `Error`. */
    hasInheritedName = false;

    exception(inner, value) {
        this.hasInheritedName ||= !(inner.get('fields')?.has('name') ?? false);
        const made = new Error();
        Object.setPrototypeOf(made, this.prototype(inner, Error.prototype, this.bare));
        if (inner.get('message')) {
            Object.defineProperty(made, 'message', { value: inner.get('message'), writable: true, configurable: true });
        }
        return this.remember(this.fill(made, inner), value);
    }

    iterator() {
        return (function* () {
            runs('a generator')();
            yield 1;
        })();
    }

    /** The recipes of what is too long to be written. */
    long(tag, inner) {
        const times = Number(inner.get?.('times')?.text ?? 0);
        switch (tag) {
            case '$repeat':
                return inner.get('text').repeat(times);
            case '$utf16':
                return String.fromCharCode(...inner.map(unit => Number(unit.text)));
            case '$count':
                return Array.from({ length: times }, (_, at) => at);
            case '$keys':
                return Object.fromEntries(Array.from({ length: times }, (_, at) => [`k${at}`, null]));
            case '$wide':
                return this.build(wide(inner, times));
            case '$nested': {
                let made = this.build(inner.get('value') ?? null);
                for (let depth = 0; depth < times; depth += 1) made = [made];
                return made;
            }
            case '$cycle': {
                const made = [];
                made.push(made);
                return made;
            }
            case '$bigint': {
                const [, sign, base, power] = /^(-?)([0-9]+)\^([0-9]+)$/.exec(inner);
                return (sign === '-' ? -1n : 1n) * BigInt(base) ** BigInt(power);
            }
            case '$unreadable':
                throw new Skipped('JavaScript reads every field of an instance');
            case '$changing':
                throw new Skipped('nothing changes while a hit runs');
            default:
                throw new Skipped(`JavaScript has no ${tag.slice(1)}`);
        }
    }

    // ---- comparing ----

    /** A value that came out, as text to be compared. */
    seen(value) {
        if (this.written.has(value)) return told(this.written.get(value));
        switch (typeof value) {
            case 'undefined':
                return 'undefined';
            case 'boolean':
                return `${value}`;
            case 'bigint':
                return `int ${value}`;
            case 'number':
                return numeral(value);
            case 'string':
                return JSON.stringify(value);
            default:
                return this.seenObject(value);
        }
    }

    seenObject(value) {
        if (value === null) return 'null';
        if (Array.isArray(value)) return list(Array.from(value, one => this.seen(one)));
        if (value instanceof Uint8Array) return bytes(value);
        if (value instanceof Set) return set(Array.from(value, one => this.seen(one)));
        if (value instanceof Map) return map(Array.from(value, ([key, held]) => [this.seen(key), this.seen(held)]));
        return map(Object.keys(value).map(key => [JSON.stringify(key), this.seen(value[key])]));
    }
}

function wide(inner, times) {
    const fields = new Map(Array.from({ length: times }, (_, at) => [`f${at}`, null]));
    return new Map([['$object', new Map([...inner].filter(([name]) => name !== 'times').concat([['fields', fields]]))]]);
}

const numeral = value => (Number.isSafeInteger(value) && !Object.is(value, -0) ? `int ${value}` : `float ${text(value)}`);
const text = value => (Object.is(value, -0) ? '-0' : `${value}`);
const list = parts => `[${parts.join(', ')}]`;
const set = parts => `set(${parts.sort().join(', ')})`;
const map = pairs => `map(${pairs.map(pair => pair.join(': ')).sort().join(', ')})`;
const bytes = value => `bytes ${Buffer.from(value).toString('hex')}`;

/** A written value, as text to be compared. */
function told(value) {
    if (Array.isArray(value)) return list(value.map(told));
    if (value instanceof Numeral) return typeof value.value === 'bigint' ? `int ${value.value}` : numeral(value.value);
    if (!isObject(value)) return JSON.stringify(value);
    const tag = tagOf(value);
    const inner = value.get(tag);
    switch (tag) {
        case null:
            return map([...value].map(([key, held]) => [JSON.stringify(key), told(held)]));
        case '$undefined':
            return 'undefined';
        case '$int':
            return `int ${inner}`;
        case '$float':
            return numeral(Number(inner));
        case '$bytes':
            return `bytes ${inner}`;
        case '$set':
            return set(inner.map(told));
        case '$map':
            return map(inner.map(([key, held]) => [told(key), told(held)]));
        case '$record':
            return map([...inner].map(([key, held]) => [JSON.stringify(key), told(held)]));
        case '$decimal':
            throw new Skipped('JavaScript has no decimal');
        case '$object':
        case '$exception':
            return `${tag} ${toldObject(inner)}`;
        default:
            return `${tag} ${shown(inner)}`;
    }
}

/** An object by its members in an order of ours. */
function toldObject(inner) {
    const fields = [...(inner.get('fields') ?? [])].map(([name, held]) => `${name}: ${told(held)}`);
    const rest = ['class', 'bases', 'getters', 'message'].map(name => shown(inner.get(name) ?? []));
    return `${rest.join(' ')} {${fields.join(', ')}}`;
}

/** Anything that was read, as text. */
function shown(value) {
    if (value instanceof Numeral) return value.text;
    if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`;
    if (!isObject(value)) return JSON.stringify(value);
    return `{${[...value].map(([name, inner]) => `${JSON.stringify(name)}: ${shown(inner)}`).join(', ')}}`;
}

// ---- the kinds of vectors ------------------------------------------------------------------------------------------------

export function rulesOf(vector) {
    const config = vector.get('config') ?? new Map();
    return {
        redactedIdentifiers: config.get('redacted_identifiers') ?? [],
        redactionExcludedIdentifiers: config.get('redaction_excluded_identifiers') ?? [],
        redactedTypes: config.get('redacted_types') ?? [],
    };
}

function ofThisHost(vector) {
    if (vector.has('host') && vector.get('host') !== 'node') throw new Skipped('for another host');
}

/** The JSON form, wrapped as often as the vector says. */
export function wrapped(vector) {
    const text = vector.raw.get('json');
    const wrap = vector.get('wrap');
    if (text === undefined || wrap === undefined) return text;
    const op = JSON.stringify(wrap.get('op'));
    const times = Number(wrap.get('times').text);
    if (!wrap.has('with')) return `{${op}: `.repeat(times) + text + '}'.repeat(times);
    return `{${op}: [`.repeat(times) + text + `, ${wrap.raw.get('with')}]}`.repeat(times);
}

/** Fails if the two forms of the expression are two expressions, or if there is none. */
function sameForms(vector) {
    const text = vector.get('dsl');
    const form = vector.raw.get('json');
    if (text === undefined && form === undefined) throw new Failed('there is no expression');
    if (text === undefined || form === undefined || vector.has('wrap')) return;
    let printed;
    try {
        printed = addon.testPrint(undefined, text);
    } catch {
        // A text may be only what people read: then it does not parse.
        return;
    }
    if (printed !== addon.testPrint(form)) throw new Failed('dsl and json are two expressions');
}

const gates = new Int32Array([1000, 1000, 1000]);
const ABSENT = known.ABSENT;

/** The code of a hit that is run in this realm. */
const script = code => new vm.Script(code).runInThisContext();

/** True if an expression may read a member of this name: as it is written, or by a key that stands in a variable. */
function mayRead(vector, name) {
    const json = wrapped(vector) ?? '';
    return json.includes(name) || (json.includes('"index"') && vector.raw.get('vars')?.includes(name));
}

/** What an expression gives over the values of its vector: the value, or category and text of the error; or why it is refused. */
export function outcomeOf(vector, isCondition) {
    ofThisHost(vector);
    sameForms(vector);
    const world = new World();
    const variables = world.variables(vector.get('vars'));
    if (world.hasInheritedName && mayRead(vector, '"name"')) {
        throw new Skipped('an error has a name in JavaScript');
    }
    if (world.hasMap && mayRead(vector, '"size"')) throw new Skipped('a map has a size in JavaScript');
    const compiled = addon.testExpression(isCondition, wrapped(vector), vector.get('dsl'), rulesOf(vector));
    const refused = compiled.refused ?? null;
    if (refused !== null) return { refused, world, variables };
    hits({ addon, gates, code: () => 0 });
    const run = script(compiled.code)(known);
    const given = compiled.variables.map(name => valueOf(variables, name));
    const specials = ['@return', '@exception', '@duration'].map(name => valueOf(variables, name));
    ran.length = 0;
    known.startTime();
    const value = run(...given, ...specials);
    let error = null;
    if (value === known.FAILED) {
        addon.intakeFailure(0, 0, 0, known.fault);
        error = addon.testFailure();
    }
    if (ran.length > 0) throw new Failed(`the program's code ran: ${ran}`);
    return { refused, error, value, world, variables };
}

function evaluate(vector, isCondition) {
    const { refused, error, value, world } = outcomeOf(vector, isCondition);
    const expect = vector.get('expect');
    if (refused === null) return compare(expect, error, value, world, isCondition);
    if (!['syntax', 'any'].includes(expect.get('error'))) throw new Failed(`expected ${shown(expect)}, refused: ${refused}`);
}

function compare(expect, error, value, world, isCondition) {
    const wantedError = expect.get('error');
    if (wantedError !== undefined) {
        if (error === null || (wantedError !== error[0] && wantedError !== 'any')) {
            throw new Failed(`expected the error ${wantedError}, got ${error ?? world.seen(value)}`);
        }
        if (!error[1]) throw new Failed('an error without a text');
        return;
    }
    const wanted = isCondition ? `${expect.get('fires')}` : told(expect.get('value'));
    if (error !== null) throw new Failed(`expected ${wanted}, got the error ${error.join(': ')}`);
    const came = world.seen(value);
    if (came !== wanted) throw new Failed(`expected ${wanted}, got ${came}`);
}

/** A variable of a vector; `undefined` and `Infinity` are the host's. */
function valueOf(variables, name) {
    if (variables.has(name)) return variables.get(name);
    if (name === 'undefined') return undefined;
    return name === 'Infinity' ? Infinity : ABSENT;
}

/** The event of a hit over variables, through the code that a line probe puts into the program. */
export function eventOf(variables, segments, limits, rules) {
    const names = [...variables.keys()].filter(name => !name.startsWith('@'));
    const made = addon.testHit(segments, limits ?? undefined, names, rules);
    if (made.refused !== undefined && made.refused !== null) return null;
    const realm = hits({ addon, gates, code: () => 0 });
    gates.fill(1000);
    const probe = realm.probe({ slot: 0, word: 2, captures: limits !== null });
    const site = realm.site(script(made.setup), probe);
    const values = Object.create(null);
    for (const [name, value] of variables) values[name] = value;
    ran.length = 0;
    script(`(function($s,V){${made.line}})`)(realm.argument([site]), values);
    if (probe.error !== null) throw probe.error;
    if (ran.length > 0) throw new Failed(`the program's code ran: ${ran}`);
    return addon.testEvent();
}

const segmentsOf = vector =>
    vector.get('segments').map(segment => ({
        fixed: segment.get('str'),
        dsl: segment.get('dsl'),
        json: segment.raw.get('json'),
    }));

/** True if a message is as expected, where `{*}` stands for a brace, any error text and a brace. */
function isMessage(wanted, message) {
    const at = wanted.indexOf('{*}');
    if (at < 0) return wanted === message;
    const [before, after] = [wanted.slice(0, at), wanted.slice(at + 3)];
    if (!message.startsWith(`${before}{`)) return false;
    for (let end = message.indexOf('}', at + 1); end >= 0; end = message.indexOf('}', end + 1)) {
        if (isMessage(after, message.slice(end + 1))) return true;
    }
    return false;
}

function template(vector) {
    ofThisHost(vector);
    const world = new World();
    const expect = vector.get('expect');
    const variables = world.variables(vector.get('vars'));
    if (world.hasWholeFloat) throw new Skipped('a whole float is written as the integer that it is in JavaScript');
    if (variables.has('@duration')) throw new Skipped('how long a method ran is told by the clock');
    const made = eventOf(variables, segmentsOf(vector), null, rulesOf(vector));
    if (made === null) {
        if (expect.has('error')) return;
        throw new Failed('the template was refused');
    }
    const event = JSON.parse(made);
    if (!isMessage(expect.get('message') ?? '', event.message)) {
        throw new Failed(`expected the message ${JSON.stringify(expect.get('message'))}, got ${JSON.stringify(event.message)}`);
    }
    const came = (event.debugger.snapshot.evaluationErrors ?? []).map(error => error.expr);
    const wanted = (expect.get('errors') ?? []).map(error => error.get('expr'));
    if (JSON.stringify(came) !== JSON.stringify(wanted)) {
        throw new Failed(`expected evaluation errors of ${JSON.stringify(wanted)}, got ${JSON.stringify(came)}`);
    }
}

function parse(vector) {
    const expect = vector.get('expect');
    const source = vector.get('text');
    if (expect.has('error')) {
        let printed;
        try {
            printed = addon.testPrint(undefined, source);
        } catch {
            return;
        }
        throw new Failed(`expected an error, got ${printed}`);
    }
    if (!addon.testParsesTo(source, expect.raw.get('json'))) throw new Failed(`got ${addon.testPrint(undefined, source)}`);
}

function printed(vector) {
    const came = addon.testPrint(vector.raw.get('json'));
    if (came !== vector.get('expect').get('text')) throw new Failed(`expected ${vector.get('expect').get('text')}, got ${came}`);
}

const DEFAULTS = { maxReferenceDepth: 3, maxCollectionSize: 100, maxLength: 255, maxFieldCount: 20 };

const limitsOf = vector =>
    Object.entries(DEFAULTS).map(([name, value]) => Number(vector.get('limits')?.get(name)?.text ?? value));

const captured = event => event.debugger.snapshot.captures.lines[1].arguments;

/** The same whatever the order of members is. */
export function ordered(value) {
    if (Array.isArray(value)) return value.map(ordered);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.keys(value).sort().map(name => [name, ordered(value[name])]));
}

function record(vector) {
    const wanted = vector.get('expect').raw.get('javascript');
    if (vector.get('expect').size === 0) throw new Failed('nothing is expected');
    if (wanted === undefined) throw new Skipped('says nothing of JavaScript');
    const name = vector.get('name') ?? 'v';
    const world = new World();
    world.bare = true;
    const variables = new Map([[name, world.build(vector.get('value'))]]);
    const event = JSON.parse(eventOf(variables, [], limitsOf(vector), rulesOf(vector)));
    const came = JSON.stringify(ordered(captured(event)[name]));
    const expected = JSON.stringify(ordered(JSON.parse(wanted)));
    if (came !== expected) throw new Failed(`expected ${expected}, got ${came}`);
}

function spelt(name, spelling) {
    const [first, rest] = [name.slice(0, 1), name.slice(1)];
    return {
        'as it is': name,
        'upper case': name.toUpperCase(),
        'snake case': `__${first}_${rest}_`,
        'dashes and dots': `${first}-${rest.slice(0, 1)}.${rest.slice(1)}`,
        'dollar and at': `$@${name}`,
        spaces: `\t${first} ${rest} `,
        symbol: `Symbol(${name})`,
        private: `#${name}`,
        'class and name': `_My__Class__${name}`,
        longer: `${name}zz`,
    }[spelling];
}

function redaction(vector) {
    const hidden = vector.get('expect').get('redacted');
    let done = 0;
    for (const name of vector.get('names')) {
        for (const spelling of vector.get('spellings')) {
            for (const place of vector.get('places')) {
                inPlace(spelt(name, spelling), place, hidden, rulesOf(vector));
                done += 1;
            }
        }
    }
    if (done === 0) throw new Failed('the vector is empty');
}

class Holder {}

function inPlace(name, place, hidden, rules) {
    const read = (how, key) => `{"${how}": [{"ref": "v"}, ${key}]}`;
    const with_ = holder => Object.defineProperty(holder, name, { value: SECRET, enumerable: true });
    const literal = JSON.stringify(name);
    const [variables, expression] = {
        variable: () => [new Map([[name, SECRET]]), `{"ref": ${literal}}`],
        field: () => [new Map([['v', with_(new Holder())]]), '{"ref": "v"}'],
        member: () => [new Map([['v', with_(new Holder())]]), read('getmember', literal)],
        key: () => [new Map([['v', with_({})]]), '{"ref": "v"}'],
        index: () => [new Map([['v', with_({})]]), read('index', literal)],
        'computed index': () => [new Map([['v', with_({})], ['k', name]]), read('index', '{"ref": "k"}')],
        'bytes key': () => [new Map([['v', new Map([[Buffer.from(name), SECRET]])]]), null],
    }[place]();
    const where = `${JSON.stringify(name)} as ${place}`;
    const limits = Object.values(DEFAULTS);
    const segments = expression === null ? [] : [{ json: expression }];
    // Not every spelling is a name in an expression; then there is only the capture.
    const withMessage = eventOf(variables, segments, limits, rules);
    const made = withMessage ?? eventOf(variables, [], limits, rules);
    const event = JSON.parse(made);
    if (made.includes(SECRET) === hidden) throw new Failed(`${where}: ${hidden ? 'the secret leaves' : 'it was withheld'}: ${made}`);
    if (JSON.stringify(captured(event)).includes('redactedIdent') !== hidden) throw new Failed(`${where}: redactedIdent: ${made}`);
    if (withMessage !== null && expression !== null && event.message.includes('{redacted}') !== hidden) {
        throw new Failed(`${where}: the message is ${JSON.stringify(event.message)}`);
    }
}

const KINDS = {
    __proto__: null,
    eval: vector => evaluate(vector, false),
    condition: vector => evaluate(vector, true),
    template,
    parse,
    print: printed,
    record,
    redaction,
};

/** What a run gave. */
export class Report {
    passed = [];
    failed = [];
    skipped = new Map();

    toString() {
        const failed = this.failed.map(([name, reason]) => `FAILED ${name}: ${reason}`);
        const skipped = [...this.skipped].sort().map(([reason, count]) => `skipped ${count}: ${reason}`);
        return [...failed, ...skipped, `${this.passed.length} passed, ${this.failed.length} failed`].join('\n');
    }
}

/** Runs vectors; failures are in the report, not thrown. */
function run(vectors, report) {
    const ids = new Set();
    for (const vector of vectors) {
        const id = vector.get('id') ?? '?';
        try {
            runOne(vector, id, ids);
            report.passed.push(id);
        } catch (reason) {
            if (reason instanceof Skipped) {
                report.skipped.set(reason.message, (report.skipped.get(reason.message) ?? 0) + 1);
                continue;
            }
            report.failed.push([id, reason instanceof Failed ? reason.message : reason.stack]);
        } finally {
            addon.testEnd();
        }
    }
}

function runOne(vector, id, ids) {
    checkShape(vector);
    if (ids.has(id)) throw new Failed('its id is used twice');
    ids.add(id);
    const kind = vector.get('kind');
    if (CORE_ALONE.includes(kind)) throw new Skipped(`${kind}: decided by the core alone`);
    if (KINDS[kind] === undefined) throw new Failed(`unknown kind '${kind}'`);
    KINDS[kind](vector);
}

/** Runs files of vectors. */
export function runFiles(files) {
    const report = new Report();
    for (const file of files) {
        let vectors;
        try {
            vectors = read(readFileSync(file, 'utf8'));
        } catch (error) {
            report.failed.push([file, error.code ? error.message : `not a vector file: ${error.message}`]);
            continue;
        }
        run(vectors, report);
    }
    return report;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const files = process.argv.slice(2);
    if (files.length === 0) {
        console.error('usage: run-vectors.mjs FILE…');
        process.exit(2);
    }
    const report = runFiles(files);
    console.log(`${report}`);
    process.exitCode = report.failed.length > 0 ? 1 : 0;
}
