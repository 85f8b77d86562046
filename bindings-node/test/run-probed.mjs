// Vectors through real probes: `node run-probed.mjs FILE…` prints each failure and `N passed, N failed`.
//
// Each vector has a function of its own, with the vector's variables as its arguments, and a probe on that: a method probe with the
// expression in its message or as its condition, or a line probe that captures. A session runs, modules come through its hooks, the
// functions are called, and what is in the events is compared with what the same values gave in run-vectors.mjs, which itself
// compares that with the vector.

import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failed, Report, Skipped, World, eventOf, ordered, outcomeOf, ran, read, rulesOf, wrapped } from './run-vectors.mjs';

const require = createRequire(import.meta.url);
const strobe = require('../js/index.cjs');
const addon = require('../js/addon.cjs');

/** Probes of a session at a time. */
const BATCH = 300;
const REF = '{"ref": "v"}';

/** A vector, its values, and what is to be seen of the call of its function. */
class Case {
    constructor(vector) {
        this.vector = vector;
        this.id = vector.get('id');
        this.kind = vector.get('kind');
        if (wrapped(vector)?.includes('"@duration"') || vector.get('dsl')?.includes('@duration')) {
            throw new Skipped('how long a method ran is told by the clock');
        }
        Object.assign(this, this.kind === 'record' ? recordOf(vector) : expectationOf(vector, this.kind === 'condition'));
        const names = [...this.variables.keys()];
        this.names = names.filter(name => !name.startsWith('@'));
        if (!this.names.every(canBeArgument)) throw new Skipped('no name of an argument');
        this.ends = this.variables.has('@exception') ? 'throw' : 'return';
        this.last = this.variables.get(`@${this.ends === 'throw' ? 'exception' : 'return'}`);
    }

    /** The text of the function. The line probe is on its second line. */
    source(name) {
        return `exports.${name} = function ${name}(${[...this.names, '$last'].join(', ')}) {\n  ${this.ends} $last;\n};\n`;
    }

    probe(name, file, line) {
        const { vector } = this;
        const expression = () => ({ dsl: vector.get('dsl') ?? '', json: 'JSON' });
        const captures = this.kind === 'record';
        const where = captures ? { sourceFile: file, lines: [String(line)] } : { sourceFile: file, methodName: name };
        const evaluateAt = this.variables.has('@return') || this.variables.has('@exception') ? 'EXIT' : 'ENTRY';
        const shared = { id: name, version: 1, type: 'LOG_PROBE', where, evaluateAt };
        // A tree that JSON.stringify would alter goes in as it is written; without one there is the text only.
        const json = wrapped(vector);
        const inserted = made => JSON.stringify(made).replace(json === undefined ? ',"json":"JSON"' : '"JSON"', () => json ?? '');
        if (captures) {
            const limits = Object.fromEntries([...(vector.get('limits') ?? [])].map(([limit, value]) => [limit, Number(value.text)]));
            return JSON.stringify({ ...shared, captureSnapshot: true, capture: limits });
        }
        if (this.kind === 'condition') return inserted({ ...shared, when: expression(), segments: [{ str: 'held' }] });
        return inserted({ ...shared, segments: [expression()] });
    }

    call(made) {
        try {
            made(...this.names.map(name => this.variables.get(name)), this.last);
        } catch (thrown) {
            if (thrown !== this.last) throw thrown;
        }
    }

    /** Compares the events of the call with what is expected. */
    check(events) {
        if (this.kind === 'record') return this.checkRecord(events);
        if (this.error !== null) {
            const errors = events.flatMap(event => event.debugger.snapshot.evaluationErrors ?? []);
            return same([this.error[1]], errors.map(error => error.message));
        }
        if (this.kind === 'condition') return same(this.value ? ['held'] : [], events.map(event => event.message));
        same([this.message], events.map(event => event.message));
    }

    checkRecord(events) {
        if (events.length !== 1) throw new Failed(`${events.length} events`);
        const [point] = Object.values(events[0].debugger.snapshot.captures.lines);
        same(ordered(JSON.parse(this.wanted)), ordered(point.arguments[this.names[0]]));
    }
}

function same(wanted, came) {
    const [expected, got] = [JSON.stringify(wanted), JSON.stringify(came)];
    if (expected !== got) throw new Failed(`without a session ${expected}, through a probe ${got}`);
}

function canBeArgument(name) {
    try {
        new Function(`'use strict'; let ${name};`);
        return /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(name);
    } catch {
        return false;
    }
}

/** What the message of a probe shows of an expression, or the condition decides. */
function expectationOf(vector, isCondition) {
    const { refused, error, value, variables } = outcomeOf(vector, isCondition);
    if (refused !== null) throw new Skipped('refused before anything is placed');
    const shown = error === null && !isCondition ? JSON.parse(eventOf(new Map([['v', value]]), [{ json: REF }], null, rulesOf(vector))) : null;
    return { error, value, variables, message: shown?.message };
}

function recordOf(vector) {
    const wanted = vector.get('expect').raw.get('javascript');
    if (wanted === undefined) throw new Skipped('says nothing of JavaScript');
    const world = new World();
    world.bare = true;
    return { wanted, variables: new Map([[vector.get('name') ?? 'v', world.build(vector.get('value'))]]) };
}

/** Runs cases that have the same rules of redaction in one session. */
async function runBatch(cases, rules, folder, number, report) {
    const module = path.join(folder, `probed-${number}.cjs`);
    const events = path.join(folder, `events-${number}.ndjson`);
    const settings = { terminal: 'never', ndjson: events, rateLimits: 'off', cpuBudget: 100, captureTimeoutMs: 60_000, evaluationTimeoutMs: 60_000 };
    strobe.start({ ...settings, ...rules });
    const sources = cases.map((one, at) => one.source(`f${at}`));
    for (const [at, one] of cases.entries()) strobe.addProbe(one.probe(`f${at}`, module, at * 3 + 2));
    writeFileSync(module, sources.join(''));
    const made = require(module);
    while (!strobe.status().every(({ state }) => ['installed', 'error'].includes(state))) await new Promise(setImmediate);
    const states = strobe.status();
    ran.length = 0;
    for (const [at, one] of cases.entries()) one.call(made[`f${at}`]);
    const wasRun = [...ran];
    await strobe.stop(30);
    const found = byProbe(events);
    for (const [at, one] of cases.entries()) {
        const { state, reason } = states[at];
        settle(one.id, report, () => {
            if (state !== 'installed') throw new Failed(`${state}: ${reason}`);
            one.check(found.get(`f${at}`) ?? []);
        });
    }
    if (wasRun.length > 0) report.failed.push([`batch ${number}`, `the program's code ran: ${wasRun}`]);
}

/** The events of a file, by the ids of their probes. */
function byProbe(file) {
    const found = new Map();
    for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
        const event = JSON.parse(line);
        const { id } = event.debugger.snapshot.probe;
        found.set(id, [...(found.get(id) ?? []), event]);
    }
    return found;
}

function settle(id, report, work) {
    try {
        work();
        report.passed.push(id);
    } catch (reason) {
        if (reason instanceof Skipped) report.skipped.set(reason.message, (report.skipped.get(reason.message) ?? 0) + 1);
        else report.failed.push([id, reason instanceof Failed ? reason.message : reason.stack]);
    }
}

/** Runs vectors of the kinds that a probe can have; the rest is left to run-vectors.mjs. */
export async function runProbed(vectors) {
    const report = new Report();
    const groups = new Map();
    for (const vector of vectors) {
        if (!['eval', 'condition', 'record'].includes(vector.get('kind'))) continue;
        try {
            const one = new Case(vector);
            const rules = JSON.stringify(rulesOf(vector));
            groups.set(rules, [...(groups.get(rules) ?? []), one]);
        } catch (reason) {
            settle(vector.get('id'), report, () => {
                throw reason;
            });
        } finally {
            addon.testEnd();
        }
    }
    const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'probed-')));
    let number = 0;
    try {
        for (const [rules, cases] of groups) {
            for (let at = 0; at < cases.length; at += BATCH) await runBatch(cases.slice(at, at + BATCH), JSON.parse(rules), folder, number++, report);
        }
    } finally {
        rmSync(folder, { recursive: true });
    }
    return report;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const files = process.argv.slice(2);
    if (files.length === 0) {
        console.error('usage: run-probed.mjs FILE…');
        process.exit(2);
    }
    const report = await runProbed(files.flatMap(file => read(readFileSync(file, 'utf8'))));
    console.log(`${report}`);
    process.exitCode = report.failed.length > 0 ? 1 : 0;
}
