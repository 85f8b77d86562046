// A hit, from the test to the record that is handed over: what `hit_code.rs` has put into the program calls this. It stands on the
// walk of a hit: the variant of a function comes before, the addon's `Intake` after. The steps are those of
// `core/src/intake.rs`: look, condition, take, room, the token of all probes, record.
//
// # What the rest of the realm has to know
//
// `hits({ addon, gates, code })` begins a session: `gates` is an Int32Array over the gates' words, `code(file, function, text,
// line, column)` numbers code for stacks (stack.cjs). It answers `{ probe, site, argument, practise, absent }`:
// * `probe({ slot, word, captures, metric, watched })` is one probe in this realm (`metric`: what it measures, 0 for nothing;
//   `watched`: a debugger calls its hits); its `report()` hands over what was counted and measured, `onDisarm(probe)` is called
//   when its hooks may be switched off, `onBroken(error)` when our own code failed in one of its hits;
// * `site(setup, probe, frame)` makes a hit's site of the function that the text `Hit.setup` is; `frame` is its place as a stack
//   would show it, a code and a position;
// * `practise(step)` does a part of a hit for nothing, so that the first one does not wait for the engine to compile our code, and
//   answers whether that was the last part;
// * `argument([site, ...])` are the members of a variant's `$s` that hits need:
//
//       { absent, h0, h1, ... }    `h0` is the site of the variant's first hit
//
// Of a site the variant's code uses `test`, `fire`, `enter`, `begin`, `end`, `sees`; of its probe it sets `error`.
'use strict';

const { isMainThread, threadId } = require('node:worker_threads');
const helpers = require('./helpers.cjs');
const layout = require('./layout.cjs');
const memory = require('./memory.cjs');
const names = require('./names.cjs');
const {
    Error,
    Float64Array,
    Int32Array,
    Map,
    RangeErrorPrototype,
    Set,
    compareExchange,
    floor,
    freeze,
    mapSet,
    nextOfSet,
    now,
    prototypeOf,
    setAdd,
    setDelete,
    setSize,
    setValues,
    wallMilliseconds,
} = require('./primordials.cjs');
const stack = require('./stack.cjs');
const { ABSENT } = require('./values.cjs');
const writer = require('./writer.cjs');

const { FAILED, fault } = helpers;
const {
    FAILED_TIMEOUT,
    PLACE_CONDITION,
    PLACE_EXPRESSION,
    PLACE_METRIC,
    PLACE_SEGMENT,
    POINT_ENTRY,
    POINT_LINE,
    POINT_RETURN,
    SAMPLE_EVERY,
    SECTION_EXPRESSIONS,
    SECTION_STATICS,
} = layout;

/** Index of the word of all capturing probes, and of all others. */
const WORD_CAPTURING = 0;
const WORD_OTHERS = 1;
/** A word that stays as it is. */
const UNLIMITED = 0x7fffffff;
/** Entries that wait for their exit, of all probes. */
const OPEN_ENTRIES = 10_000;
/** What a probe measures. */
const MEASURES_NOTHING = 0;
const MEASURES_COUNT = 1;
const MEASURES_VALUES = 3;
/** Values that are handed over together. */
const KEPT_VALUES = 512;

let intake = null;
let gates = new Int32Array(0);

/** The addon's functions for hits, by short names. */
const intakeOf = addon => ({
    bigDigits: addon.intakeBigDigits,
    classify: addon.intakeClassify,
    classifyBytes: addon.intakeClassifyBytes,
    conditionFailed: addon.intakeConditionFailed,
    failure: addon.intakeFailure,
    hasRedactedTypes: addon.intakeHasTypes,
    hasRoom: addon.intakeHasRoom,
    lost: addon.intakeLost,
    matches: addon.intakeMatches,
    measured: addon.intakeMeasured,
    name: addon.intakeName,
    noMemory: addon.intakeNoMemory,
    ran: addon.intakeRan,
    number: addon.intakeNumber,
    record: addon.intakeRecord,
    report: addon.intakeReport,
    sealed: addon.intakeSealed,
    showsStack: addon.intakeShowsStack,
    strict: addon.intakeStrict,
    templateFailed: addon.intakeTemplateFailed,
    valueFailed: addon.intakeValueFailed,
    typeNumber: addon.intakeType,
});

/** Begins a session in this realm. */
function hits({ addon, gates: words, code }) {
    intake = intakeOf(addon);
    gates = words;
    const { captureMilliseconds, evaluationMilliseconds } = addon.intakeLimits();
    names.use(intake);
    helpers.use(intake, evaluationMilliseconds);
    const number = names.nameNumber(isMainThread ? 'main' : `worker ${threadId}`);
    const threadName = number >= 0 ? number >>> 1 : 0xffffffff;
    const { bigDigits: digits, sealed, strict } = intake;
    writer.use({ milliseconds: captureMilliseconds, digits, seed: addon.random(), thread: threadId, threadName, sealed, strict: strict() });
    stack.use(code);
    return { __proto__: null, absent: ABSENT, argument, practise, probe: facts => new Probe(facts), site };
}

/** One probe in this realm: its gate and its counts since the last report. */
class Probe {
    constructor({ slot, word, captures, metric = MEASURES_NOTHING, watched = false }) {
        this.slot = slot;
        this.metric = metric;
        if (metric !== MEASURES_NOTHING) this.values = new Float64Array(metric === MEASURES_VALUES ? KEPT_VALUES : 1);
        this.word = word;
        this.global = captures ? WORD_CAPTURING : WORD_OTHERS;
        this.watched = watched;
        this.showsStack = intake.showsStack(captures);
    }

    slot;
    word;
    global;
    /** What it measures, and of so many hits since that was handed over: the sum of a count, the last value of a gauge, or values. */
    metric;
    values = null;
    measured = 0;
    filled = 0;
    /** False if hits tell no more of the stack than their own place. */
    showsStack;
    /** What our own code failed with in a hit: nothing is called there, since the stack may be at its end. */
    error = null;
    /** Called when hooks may be switched off, and when our own code failed in a hit: it would do so again. */
    onDisarm = null;
    onBroken = null;
    /** Its hooks are to go from this realm until its next token, and they are gone: the realm's to know. */
    wantsRest = false;
    rests = false;

    /** A function that has it on one of its lines was called, and the core knows. */
    ran = false;
    toldRan = false;

    hits = 0;
    rejected = 0;
    empty = 0;
    emptyGlobal = 0;
    off = 0;
    noRoom = 0;
    entryNotSeen = 0;
    /** Hits until one is timed, the weight of that one, and when it began. */
    left = 1;
    weight = 1;
    started = 0;
    /** A debugger calls its hits, which are dear: each one is timed, and each one refused is told at once. What one costs before
     *  our code begins, in milliseconds. */
    watched;
    overhead = 0;

    /** Milliseconds that the hit has taken so far; 0 if it is not timed. */
    spent() {
        return this.started === 0 ? 0 : now() - this.started + this.overhead;
    }

    /** Hands over what was measured. */
    handOver() {
        const { values } = this;
        intake.measured(this.slot, this.measured, values, this.metric === MEASURES_VALUES ? this.filled : 1);
        this.measured = 0;
        this.filled = 0;
        if (this.metric === MEASURES_COUNT) values[0] = 0;
    }

    /** Hands over what was counted and measured. */
    report(spent = 0) {
        if (this.error !== null) tellError(this);
        if (this.ran && !this.toldRan) {
            this.toldRan = true;
            intake.ran(this.slot);
        }
        const weight = this.started === 0 ? 0 : this.weight;
        if (this.measured > 0) {
            // It is done once for as many hits as a timed one stands for.
            const start = weight === 0 ? 0 : now();
            this.handOver();
            if (weight > 0) spent += (now() - start) / weight;
        }
        this.started = 0;
        const answer = intake.report(
            this.slot,
            this.hits,
            this.rejected,
            this.empty,
            this.emptyGlobal,
            this.off,
            this.noRoom,
            this.entryNotSeen,
            spent * 1e6,
            weight,
        );
        this.hits = 0;
        this.rejected = 0;
        this.empty = 0;
        this.emptyGlobal = 0;
        this.off = 0;
        this.noRoom = 0;
        this.entryNotSeen = 0;
        if (weight > 0) {
            this.weight = (answer & 2) === 0 && !this.watched ? SAMPLE_EVERY : 1;
            this.left = this.weight;
        }
        if ((answer & 1) !== 0 && this.onDisarm !== null) this.onDisarm(this);
    }
}

/** Milliseconds since then, of which no part is smaller than a nanosecond. */
const since = start => floor((now() - start) * 1e6) / 1e6;

/** Counts a hit, and starts its clock if it is one of those that are timed. True if there is a token. */
function look(probe) {
    if (probe.error !== null) tellError(probe);
    probe.hits += 1;
    probe.left -= 1;
    if (probe.left === 0) probe.started = now();
    const tokens = gates[probe.word];
    return tokens > 0 ? true : refuse(probe, tokens);
}

/** Tells that our own code has failed. Where the stack was at its end that says nothing of the next hit. */
function tellError(probe) {
    const { error } = probe;
    probe.error = null;
    if (probe.onBroken === null || isStackEnd(error)) intake.lost(probe.slot);
    else probe.onBroken(error);
}

const isStackEnd = error => typeof error === 'object' && error !== null && prototypeOf(error) === RangeErrorPrototype;

function refuse(probe, tokens) {
    if (tokens === 0) probe.empty += 1;
    else probe.off += 1;
    return skip(probe);
}

/** Ends a hit of which nothing comes. */
function skip(probe) {
    if (probe.started !== 0 || probe.watched) probe.report(probe.spent());
    return false;
}

function entryNotSeen(probe) {
    probe.entryNotSeen += 1;
    return skip(probe);
}

/** After the condition: true if the hit is recorded. */
function decide(site, outcome) {
    const verdict = helpers.inTime(outcome);
    return verdict === true ? take(site.probe) : notWanted(site, verdict);
}

/** After the condition of a metric: true if the hit is measured. */
function wanted(site, outcome) {
    const verdict = helpers.inTime(outcome);
    return verdict === true || notWanted(site, verdict);
}

function notWanted(site, verdict) {
    const { probe } = site;
    if (verdict === false) probe.rejected += 1;
    else evaluationFailed(site, PLACE_CONDITION, intake.conditionFailed(probe.slot, fault));
    return skip(probe);
}

/** Measures what the value of a metric has come to. */
function measure(site, outcome) {
    const { probe } = site;
    const value = helpers.inTime(outcome);
    // A number that is finite, and of a count whole, is what it is; what else may be one the core decides.
    if (typeof value === 'number' && value - value === 0 && (probe.metric !== MEASURES_COUNT || floor(value) === value)) {
        return add(probe, value);
    }
    const number = value === FAILED ? FAILED : helpers.number(probe.slot, value);
    if (number !== FAILED) return add(probe, number);
    evaluationFailed(site, PLACE_METRIC, intake.valueFailed(probe.slot, fault));
    return skip(probe);
}

/** Adds a number that was measured, and ends the hit. */
function add(probe, number) {
    probe.measured += 1;
    const { metric, values } = probe;
    if (metric === MEASURES_COUNT) {
        values[0] += number;
    } else if (metric === MEASURES_VALUES) {
        values[probe.filled] = number;
        probe.filled += 1;
        // A timed hit hands them over when its clock has stopped.
        if (probe.filled === KEPT_VALUES && probe.started === 0) probe.handOver();
    } else {
        values[0] = number;
    }
    return skip(probe);
}

/** Takes a token of the probe, asks for room, takes a token of all probes. */
function take(probe) {
    if (!takeToken(probe.word)) return refuse(probe, gates[probe.word] < 0 ? -1 : 0);
    if (!intake.hasRoom()) {
        probe.noRoom += 1;
        return skip(probe);
    }
    if (memory.isShort()) {
        intake.noMemory(probe.slot);
        return skip(probe);
    }
    if (takeToken(probe.global)) return true;
    putBack(probe.word);
    probe.emptyGlobal += 1;
    return skip(probe);
}

function takeToken(word) {
    for (;;) {
        const tokens = gates[word];
        if (tokens <= 0) return false;
        if (tokens === UNLIMITED || compareExchange(gates, word, tokens, tokens - 1) === tokens) return true;
    }
}

function putBack(word) {
    for (;;) {
        const tokens = gates[word];
        if (tokens < 0 || tokens === UNLIMITED || compareExchange(gates, word, tokens, tokens + 1) === tokens) return;
    }
}

/** The failure that `fault` tells, as it stands in records. */
const encoded = (probe, place, index) => intake.failure(probe.slot, place, index, fault);

/** A condition, or the value of a metric, failed: an event about it, if the core says that one is due. */
function evaluationFailed(site, place, failure) {
    if (failure === null) return;
    writer.begin(site.probe.slot, wallMilliseconds(), -1);
    writer.markError();
    writer.failure(place, 0, failure);
    send(site, site.test);
}

/** Writes the stack and hands the record over. `below` is what the variant has called: the stack begins there. `raised`: where
 *  in the function the exception came from, if one did. */
function send(site, below, raised = 0) {
    if (site.probe.showsStack) writer.stack(stack.frames, stack.take(below, raised));
    else writer.stack(site.frame, 1);
    intake.record(writer.buffer, writer.finish());
}

/** A hit's place in the program. */
class Site {
    constructor({ probe, line, limits, test, captures }, frame) {
        this.probe = probe;
        this.line = line;
        this.limits = limits;
        this.test = test;
        this.captures = captures;
        this.frame = frame;
    }

    probe;
    line;
    limits;
    test;
    captures;
    frame;

    /** Says which private members expressions can read from now on ({@link helpers.see}). */
    sees(privates) {
        helpers.see(privates);
    }

    /** The entry of a method that is evaluated at its exit: when it was, or 0 if nobody will ask. */
    enter() {
        return gates[this.probe.word] > 0 ? now() : 0;
    }

    /** Records a hit of a line, of an entry without captures, or of an exit that began at `start`. `raised` is where in the method
     *  its exception came from, `below` what was called for the hit: the stack begins there. */
    fire(start, returned, exception, values, privates, raised, below = this.fire) {
        const { probe } = this;
        const duration = start === 0 ? -1 : since(start);
        writer.begin(probe.slot, wallMilliseconds(), duration);
        const capture = this.captures[0];
        const spent = duration < 0 ? ABSENT : duration;
        if (message(probe, capture, values, returned, exception, spent)) {
            const isExit = returned !== ABSENT || exception !== ABSENT;
            const point = isExit ? POINT_RETURN : this.line === 0 ? POINT_ENTRY : POINT_LINE;
            record(this, capture, point, values, returned, exception, spent, privates);
        }
        send(this, below, raised);
        probe.report(probe.spent());
    }

    /** Records the first half of a hit that captures at entry and exit, and answers what the exit needs. */
    begin(values, privates) {
        const { probe } = this;
        const start = now();
        writer.begin(probe.slot, wallMilliseconds(), -1);
        const capture = this.captures[0];
        let entry = null;
        if (message(probe, capture, values, ABSENT, ABSENT, ABSENT)) {
            record(this, capture, POINT_ENTRY, values, ABSENT, ABSENT, ABSENT, privates);
            entry = keepEntry({ start, probe, half: writer.suspend() });
        } else {
            send(this, this.begin);
        }
        probe.report(probe.spent());
        return entry;
    }

    /** Records the second half and sends both. */
    end(entry, returned, exception, values, privates, raised) {
        if (entry.half === null) return;
        setDelete(entries, entry);
        const duration = since(entry.start);
        writer.resume(entry.half);
        writer.setDuration(duration);
        record(this, this.captures[1], POINT_RETURN, values, returned, exception, duration, privates);
        send(this, this.end, raised);
    }
}

const entries = new Set();

/** Keeps a first half until its exit; the oldest goes where there are too many. */
function keepEntry(entry) {
    setAdd(entries, entry);
    if (setSize(entries) > OPEN_ENTRIES) {
        const oldest = nextOfSet(setValues(entries)).value;
        setDelete(entries, oldest);
        oldest.half = null;
        oldest.probe.noRoom += 1;
    }
    return entry;
}

/** Records the message's values. False if evaluation ran out of time or steps: then nothing is captured, and the event is about
 *  that. */
function message(probe, capture, values, returned, exception, duration) {
    const { segments } = capture;
    if (segments.length === 0) return true;
    helpers.startTime();
    for (let at = 0; at < segments.length; at += 1) {
        const segment = segments[at];
        const value = helpers.inTime(segment[1](values, returned, exception, duration));
        if (value !== FAILED) {
            writer.template(segment[0], value, segment[2]);
            continue;
        }
        writer.failure(PLACE_SEGMENT, segment[0], encoded(probe, PLACE_SEGMENT, segment[0]));
        if (intake.templateFailed(probe.slot)) {
            writer.markError();
            return false;
        }
    }
    return true;
}

/** Captures one point. */
function record(site, capture, what, values, returned, exception, duration, privates) {
    const { sections, expressions } = capture;
    if (sections.length > 0) snapshot(site, sections, what, values, returned, exception, privates);
    else if (expressions.length > 0) evaluated(site, expressions, what, values, returned, exception, duration, privates);
}

/** All variables of a point. */
function snapshot(site, sections, what, values, returned, exception, privates) {
    writer.point(what, what === POINT_LINE ? site.line : 0);
    writer.useLimits(site.limits);
    if (privates !== null) writer.readPrivates(privates, ABSENT);
    for (let at = 0; at < sections.length; at += 1) {
        const section = sections[at];
        if (section[0] === SECTION_STATICS) special(returned, exception);
        writer.section(section[0]);
        variables(section[1], section[2], values);
    }
    if (exception !== ABSENT) writer.throwable(exception);
    writer.endPoint();
}

/** The value or exception with which a method ended stands among its locals. */
function special(returned, exception) {
    if (returned !== ABSENT) writer.variable('@return', returned);
    if (exception !== ABSENT) writer.variable('@exception', exception);
}

function variables(named, places, values) {
    for (let at = 0; at < named.length; at += 1) {
        const value = values[places[at]];
        if (value !== ABSENT && !writer.variable(named[at], value)) return;
    }
}

/** The capture expressions of a point. A failing one costs its entry only; one out of time, the later ones too. */
function evaluated(site, expressions, what, values, returned, exception, duration, privates) {
    writer.point(what, what === POINT_LINE ? site.line : 0);
    writer.section(SECTION_EXPRESSIONS);
    if (privates !== null) writer.readPrivates(privates, ABSENT);
    const failures = { __proto__: null };
    let failed = 0;
    let isLate = false;
    for (let at = 0; at < expressions.length; at += 1) {
        const one = expressions[at];
        if (isLate) {
            writer.notReached(one[0]);
            continue;
        }
        helpers.startTime();
        const value = helpers.inTime(one[1](values, returned, exception, duration));
        if (value !== FAILED) {
            writer.useLimits(one[2]);
            writer.expression(one[0], value, one[3]);
            continue;
        }
        isLate = fault.category === FAILED_TIMEOUT;
        failures[failed] = { at, encoded: encoded(site.probe, PLACE_EXPRESSION, at) };
        failed += 1;
    }
    writer.endPoint();
    for (let index = 0; index < failed; index += 1) {
        writer.failure(PLACE_EXPRESSION, failures[index].at, failures[index].encoded);
    }
}

/** Values of the kinds that programs have most. */
const PRACTICE = [1, 1.5, 'text', true, null, undefined, { a: 1, b: 'text' }, [1, 'text'], mapSet(new Map(), 1, 2), setAdd(new Set(), 1), new Error('text'), now];

/** Does what a hit of a value does, and keeps nothing of it. */
function practise(step) {
    writer.begin(0, wallMilliseconds(), 1);
    writer.template(0, PRACTICE[6]);
    writer.point(POINT_LINE, 1);
    writer.useLimits({ depth: 3, elements: 100, length: 255, fields: 20 });
    writer.section(SECTION_STATICS);
    writer.variable('a', PRACTICE[step]);
    writer.endPoint();
    writer.stack(stack.frames, stack.take(practise));
    writer.finish();
    return step + 1 === PRACTICE.length;
}

/** What the functions of a site know by name. */
const known = freeze({ __proto__: null, ...helpers, ABSENT, add, decide, entryNotSeen, look, measure, since, take, wanted });

/** The site of a hit, from the function that `Hit.setup` is. */
const site = (setup, probe, frame) => new Site(setup(known, probe), frame);

/** What a variant whose hits have these sites is given. */
function argument(sites) {
    const made = { __proto__: null, absent: ABSENT };
    for (let at = 0; at < sites.length; at += 1) made[`h${at}`] = sites[at];
    return freeze(made);
}

module.exports = { hits, known };
