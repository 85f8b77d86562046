// The code of a hit over values that would tell if anything of the program ran, that never end, or that are too large; and what a
// hit does with its gate.
import './processes.mjs';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import vm from 'node:vm';

const require = createRequire(import.meta.url);
const addon = require('../js/addon.cjs');
const { hits, known } = require('../js/hit.cjs');
const layout = require('../js/layout.cjs');

const NO_RULES = { redactedIdentifiers: [], redactionExcludedIdentifiers: [], redactedTypes: [] };
const LIMITS = [3, 100, 255, 20];
const script = code => new vm.Script(code).runInThisContext();

/** A line probe over variables: `run` hits it, `event` is what came of it. */
function probeOver(variables, { segments = [], limits = LIMITS, rules = NO_RULES } = {}) {
    const names = Object.keys(variables);
    const made = addon.testHit(segments, limits ?? undefined, names, rules);
    assert.equal(made.refused ?? null, null);
    const gates = new Int32Array([1000, 1000, 1000]);
    const realm = hits({ addon, gates, code: () => 0 });
    const probe = realm.probe({ slot: 0, word: 2, captures: limits !== null });
    const site = realm.site(script(made.setup), probe);
    const run = script(`(function($s,V){${made.line}})`);
    return {
        gates,
        probe,
        run: () => run(realm.argument([site]), variables),
        event() {
            if (probe.error !== null) throw probe.error;
            return JSON.parse(addon.testEvent());
        },
    };
}

function eventOf(variables, options) {
    const probe = probeOver(variables, options);
    probe.run();
    return probe.event();
}

const captured = (variables, options) => eventOf(variables, options).debugger.snapshot.captures.lines[1].arguments;

function evaluated(dsl, variables) {
    const compiled = addon.testExpression(false, undefined, dsl, NO_RULES);
    hits({ addon, gates: new Int32Array(3), code: () => 0 });
    known.startTime();
    const run = script(compiled.code)(known);
    const value = run(...compiled.variables.map(name => (name in variables ? variables[name] : known.ABSENT)));
    if (value !== known.FAILED) return value;
    addon.intakeFailure(0, 0, 0, known.fault);
    return addon.testFailure();
}

// ---- nothing of the program runs -----------------------------------------------------------------------------------------

let ran = [];
const counts = what => function () {
    ran.push(what);
    return `${what} ran`;
};

/** An object whose every hook counts. */
function hostile() {
    class Hostile {
        get size() {
            return counts('get size')();
        }
        get length() {
            return counts('get length')();
        }
        toString = counts('toString');
        valueOf = counts('valueOf');
        toJSON = counts('toJSON');
        [Symbol.toPrimitive] = counts('toPrimitive');
        [Symbol.iterator] = counts('iterator');
        [Symbol.for('nodejs.util.inspect.custom')] = counts('inspect');
        static [Symbol.hasInstance] = counts('hasInstance');
        static get [Symbol.species]() {
            return counts('species')();
        }
        get [Symbol.toStringTag]() {
            return counts('toStringTag')();
        }
    }
    const made = new Hostile();
    Object.defineProperty(made, 'own', { get: counts('own getter'), set: counts('own setter'), enumerable: true });
    return made;
}

function hostileProxy(target) {
    const trap = (_, name) => counts(`trap ${String(name)}`);
    return new Proxy(target, new Proxy({}, { get: trap }));
}

function hostileValues() {
    const withIndexGetter = [1, 2, 3];
    Object.defineProperty(withIndexGetter, 1, { get: counts('index getter') });
    class Mapped extends Map {
        get size() {
            return counts('size of a map')();
        }
        entries() {
            return counts('entries')();
        }
        [Symbol.iterator]() {
            return counts('iterator of a map')();
        }
        get(key) {
            return counts(`get ${key}`)();
        }
    }
    const error = new TypeError('bad');
    Object.defineProperty(error, 'name', { get: counts('name of an error') });
    const child = Object.create(hostileProxy({}));
    child.x = 1;
    const bytes = Buffer.from('abc');
    Object.defineProperty(bytes, 'length', { get: counts('length of bytes') });
    const date = new Date(0);
    date.toISOString = counts('toISOString');
    const pattern = /a/g;
    Object.defineProperty(pattern, 'flags', { get: counts('flags') });
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const called = hostileProxy(function () {});
    return {
        hostile: hostile(),
        proxy: hostileProxy({ a: 1 }),
        list: hostileProxy([1]),
        called,
        revoked: proxy,
        array: withIndexGetter,
        map: new Mapped([['k', hostile()]]),
        key: new Map([[hostile(), 1]]),
        set: new Set([hostile(), hostileProxy({})]),
        error,
        child,
        bytes,
        date,
        pattern,
        boxed: Object.assign(new String('s'), { toString: counts('toString of a box') }),
        generator: (function* () {
            ran.push('generator');
            yield 1;
        })(),
        promise: Object.assign(Promise.resolve(1), { then: counts('then') }),
        weak: new WeakMap(),
        symbol: Symbol('s'),
        big: 2n ** 1_000_000n,
        module: Object.create(null, { [Symbol.toStringTag]: { get: counts('tag of a module') } }),
        Class: class {
            static get name() {
                return counts('name of a class')();
            }
        },
    };
}

test('no getter, trap, iterator, toString or other hook of the program runs', () => {
    const before = Error.prepareStackTrace;
    Error.prepareStackTrace = counts('prepareStackTrace');
    try {
        const variables = hostileValues();
        ran = [];
        const names = Object.keys(variables);
        const segments = names.flatMap(name => [
            { dsl: name },
            { dsl: `len(${name})` },
            { dsl: `isEmpty(${name})` },
            { dsl: `${name} == hostile` },
            { dsl: `${name} > 1` },
            { dsl: `contains(${name}, 1)` },
            { dsl: `${name}[0]` },
            { dsl: `${name}.own` },
            { dsl: `${name}.stack` },
            { dsl: `${name}.size` },
            { dsl: `${name}["k"]` },
            { dsl: `any(${name}, {@it == 1})` },
            { dsl: `filter(${name}, {@it.own})` },
            { dsl: `${name} instanceof "Hostile"` },
            { dsl: `matches(${name}, "a")` },
            { dsl: `startsWith(${name}, ${name})` },
            { dsl: `substring(${name}, 0, 1)` },
            { dsl: `!${name}` },
        ]);
        eventOf(variables, { segments, limits: LIMITS });
        assert.deepEqual(ran, []);
    } finally {
        Error.prepareStackTrace = before;
    }
});

test('a program that replaces what the engine offers changes nothing', () => {
    const code = `
        const vm = require('node:vm');
        const { writeSync } = require('node:fs');
        const addon = require('./js/addon.cjs');
        const { hits } = require('./js/hit.cjs');
        const rules = { redactedIdentifiers: [], redactionExcludedIdentifiers: [], redactedTypes: [] };
        const variables = { a: [1, 'x', { b: new Map([['k', new Set([1])]]) }], s: 'a long text, longer than sixteen', e: new Error('m') };
        const made = addon.testHit([{ dsl: 'a' }, { dsl: 'any(a, {@it == 1})' }], [3, 100, 255, 20], Object.keys(variables), rules);
        const realm = hits({ addon, gates: new Int32Array([9, 9, 9]), code: () => 0 });
        const probe = realm.probe({ slot: 0, word: 2, captures: true });
        const site = realm.site(vm.runInThisContext(made.setup), probe);
        const run = vm.runInThisContext('(function($s,V){' + made.line + '})');
        const $s = realm.argument([site]);
        const define = Object.defineProperty;
        let ran = 0;
        const all = [];
        for (const of of [Map, Set, Array, Object, String, Number, BigInt, Function, Uint8Array, Buffer, DataView, WeakMap, Date, Reflect, Math, Atomics, Object.getPrototypeOf(Uint8Array)]) {
            for (const holder of [of, of.prototype]) {
                if (holder === undefined || holder === Function.prototype || holder === Object.prototype) continue;
                for (const name of Reflect.ownKeys(holder)) {
                    if (name === 'prototype' || name === 'name' || name === 'length' || name === 'constructor') continue;
                    all.push([holder, name]);
                }
            }
        }
        for (let at = 0; at < all.length; at += 1) {
            try { define(all[at][0], all[at][1], { get() { ran += 1; throw new Error('ran'); }, configurable: true }); } catch {}
        }
        const names = ['get', 'set', 'value', 'stack', '0', '1', 'done'];
        for (let at = 0; at < names.length; at += 1) {
            define(Object.prototype, names[at], { __proto__: null, get() { ran += 1; return 'polluted'; }, set() { ran += 1; }, configurable: true });
        }
        run($s, variables);
        const failed = probe.error;
        const count = ran;
        for (let at = 0; at < names.length; at += 1) delete Object.prototype[names[at]];
        writeSync(1, (failed === null ? addon.testEvent() : String(failed.stack)) + '|' + count);
        process.reallyExit(0);
    `;
    const out = execFileSync(process.execPath, ['-e', code], { cwd: new URL('..', import.meta.url), encoding: 'utf8' });
    const [event, count] = [out.slice(0, out.lastIndexOf('|')), out.slice(out.lastIndexOf('|') + 1)];
    assert.equal(count, '0');
    assert.ok(event.includes('"message":"[1, \\"x\\", {...}]true"'), event);
});

// ---- bounds --------------------------------------------------------------------------------------------------------------

const milliseconds = work => {
    const start = performance.now();
    work();
    return performance.now() - start;
};

test('what is very large takes little time, and says so', () => {
    const huge = 'x'.repeat(50_000_000);
    const variables = { huge, big: 2n ** 1_000_000n, many: new Map(Array.from({ length: 100_000 }, (_, at) => [at, at])) };
    let found;
    const spent = milliseconds(() => {
        found = captured(variables, { segments: [{ dsl: 'huge' }] });
    });
    assert.ok(spent < 250, `${spent} ms`);
    assert.deepEqual(found.huge, { type: 'string', value: 'x'.repeat(255), truncated: true, size: 50_000_000 });
    assert.equal(found.big.size, 1_000_001);
    assert.equal(found.many.notCapturedReason, 'collectionSize');
    assert.deepEqual(evaluated('len(huge)', variables)[0], 'limit');
});

test('an evaluation that never ends is stopped by its count or its time', () => {
    const list = Array.from({ length: 3000 }, (_, at) => ({ at }));
    // On a busy machine the time may be over first.
    assert.match(evaluated('any(list, {any(list, {@it.at == -1})})', { list })[0], /^(limit|timeout)$/);
    const long = 'a'.repeat(30_000_000);
    const spent = milliseconds(() => evaluated('contains(t, p)', { t: long, p: `${'a'.repeat(60_000)}b` }));
    assert.ok(spent < 3000, `${spent} ms`);
    const cycle = [];
    cycle.push(cycle);
    const other = [];
    other.push(other);
    assert.match(evaluated('a == b', { a: cycle, b: other })[0], /^(limit|timeout)$/);
});

/** Runs something with half of the stack left. */
function deepDown(work) {
    let deepest = 0;
    const descend = (depth, end) => {
        if (depth === end) return work();
        deepest = depth;
        return descend(depth + 1, end);
    };
    try {
        descend(0, Infinity);
    } catch {
        // That was the end of the stack.
    }
    return descend(0, Math.floor(deepest * 0.5));
}

test('an expression of a thousand levels runs far down the stack', () => {
    for (const [op, value] of [['not', true], ['isDefined', true]]) {
        const json = `{"${op}": `.repeat(999) + '{"ref": "a"}' + '}'.repeat(999);
        const compiled = addon.testExpression(false, json, undefined, NO_RULES);
        assert.equal(compiled.refused ?? null, null);
        hits({ addon, gates: new Int32Array(3), code: () => 0 });
        const run = script(compiled.code)(known);
        assert.equal(deepDown(() => run(op === 'not' ? false : 1, known.ABSENT, known.ABSENT, known.ABSENT)), value);
    }
    let nested = [];
    for (let depth = 0; depth < 990; depth += 1) nested = [nested];
    assert.equal(deepDown(() => evaluated('a == b', { a: nested, b: structuredClone(nested) })), true);
});

test('a record holds no more than its bound, however much there is', () => {
    const list = Array.from({ length: 100 }, () => 'x'.repeat(100_000));
    const found = captured({ list, after: 1 }, { limits: [3, 100, 200_000, 20] });
    assert.ok(JSON.stringify(found).length < 1 << 20);
    assert.equal(found.after.notCapturedReason, 'timeout');
});

// ---- gates and layout ----------------------------------------------------------------------------------------------------

test('a hit takes a token of its probe and of all, and puts the first back if there is none of all', () => {
    const probe = probeOver({ a: 1 });
    probe.run();
    assert.deepEqual([...probe.gates], [999, 1000, 999]);
    probe.gates[0] = 0;
    probe.run();
    assert.deepEqual([...probe.gates], [0, 1000, 999]);
    assert.equal(probe.probe.emptyGlobal, 1);
    probe.gates.set([5, 5, 0x7fffffff]);
    probe.run();
    assert.deepEqual([...probe.gates], [4, 5, 0x7fffffff]);
    probe.gates[2] = 0;
    probe.run();
    probe.gates[2] = -1;
    probe.run();
    assert.deepEqual([probe.probe.empty, probe.probe.off], [1, 1]);
});

test('a writer of another layout is refused, with both versions', () => {
    assert.throws(() => addon.hello(layout.LAYOUT ^ 1, '9.9.9'), /9\.9\.9.*install both from one version/s);
});
