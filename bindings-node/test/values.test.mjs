// Values that would take for ever, tell if anything of the program ran, or change meanwhile, through a real probe.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { answer, events } from './processes.mjs';

/** What a program with a session answers, and its events. */
function run(context, body, settings = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'values-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const ndjson = path.join(folder, 'events.ndjson');
  const found = answer(`${body} await strobe.stop(5); return found;`, { ndjson, rateLimits: 'off', cpuBudget: 100, ...settings });
  return { found, events: events(readFileSync(ndjson, 'utf8')) };
}

const holds = "const holds = require(process.cwd() + '/holds.cjs');";

test('what is very large, hostile or gone is captured within its limits, marked, and runs nothing', (context) => {
  const { found, events: caught } = run(context, `
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'holds.cjs', lines: ['4'] }, captureSnapshot: true, template: '{value}' });
    ${holds}
    let ran = 0;
    const runs = () => { ran += 1; throw new Error('it ran'); };
    const traps = Object.fromEntries(Object.getOwnPropertyNames(Reflect).map((name) => [name, runs]));
    const { proxy, revoke } = Proxy.revocable({ a: 1 }, traps);
    revoke();
    const hostile = [new Proxy({ a: 1 }, traps), new Proxy(function () {}, traps), new Proxy([1], new Proxy({}, { get: runs })), proxy];
    const values = ['x'.repeat(50_000_000), 2n ** 1_000_000n, ...hostile, Object.create(hostile[0])];
    const types = values.map((value) => holds.hold(value));
    const found = { types, ran };`);
  assert.deepEqual(found, { types: ['string', 'bigint', 'object', 'function', 'object', 'object', 'object'], ran: 0 });
  assert.equal(caught.length, 7);
  const [text, big, ...proxies] = caught.map((event) => event.debugger.snapshot.captures.lines['4'].arguments.value);
  assert.deepEqual(text, { type: 'string', value: 'x'.repeat(255), truncated: true, size: 50_000_000 });
  assert.deepEqual([big.type, big.size, big.truncated], ['bigint', 1_000_001, true]);
  for (const shown of proxies.slice(0, 4)) assert.deepEqual(shown, { type: 'Proxy', fields: {} });
  for (const event of caught) assert.ok(JSON.stringify(event).length < 12_000, event.message);
});

test('a map has its size, a message the names of the language, and a pattern all its flags', (context) => {
  const { events: caught } = run(context, `
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'holds.cjs', lines: ['4'] }, template: '{value} {value.size}' });
    ${holds}
    const values = [new Map([['k', 1]]), new Map([['size', 'own']]), new Set([1, 2]), new Error('lost'), new (class { x = 1; })(), /a/dgimsuy, /b/v];
    const found = values.map((value) => typeof holds.hold(value));`);
  const messages = caught.map(({ message }) => message.replace(/ \{[^{}]*\}$/, ''));
  assert.deepEqual(messages, ['{"k": 1} 1', '{"size": "own"} own', '[1, 2] 2', 'Error: lost', 'Object{x: 1}', '/a/dgimsuy', '/b/v']);
});

test('an object of very many properties is listed once: what is kept of it is shown, and what asks again has no time', (context) => {
  const { found, events: caught } = run(context, `
    const where = { sourceFile: 'holds.cjs', lines: ['4'] };
    strobe.addProbe({ id: 'shown', type: 'LOG_PROBE', where, captureSnapshot: true, template: 'x' });
    const when = { dsl: 'len(value) > 1', json: { gt: [{ len: { ref: 'value' } }, 1] } };
    strobe.addProbe({ id: 'asked', type: 'LOG_PROBE', where, when, template: 'y' });
    ${holds}
    const large = {};
    for (let at = 0; at < 20_000; at += 1) large['k' + at] = at;
    const found = [large, large, { a: 1, b: 2 }].map((value) => typeof holds.hold(value));`);
  assert.equal(found.length, 3);
  const of = (id) => caught.filter((event) => event.debugger.snapshot.probe.id === id);
  const shown = of('shown').map((event) => event.debugger.snapshot.captures.lines['4'].arguments.value);
  assert.deepEqual(shown.map(({ notCapturedReason }) => notCapturedReason), ['fieldCount', 'fieldCount', undefined]);
  // It rests after that.
  assert.deepEqual(of('asked').map(({ message }) => message), ['Evaluation took longer than 50 ms']);
});

const snapshot = "{ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'holds.cjs', lines: ['4'] }, captureSnapshot: true, template: 'x' }";
const shownIn = (caught) => caught.map((event) => event.debugger.snapshot.captures.lines['4'].arguments.value);

test('of an object of very many symbols the first ones are kept, and it is not asked again', (context) => {
  const { events: caught } = run(context, `
    strobe.addProbe(${snapshot});
    ${holds}
    const large = {};
    for (let at = 0; at < 20_000; at += 1) large[Symbol('s' + at)] = at;
    const found = [holds.hold(large)];
    large.later = true;
    found.push(holds.hold(large));`);
  const [first, second] = shownIn(caught);
  assert.deepEqual([first.notCapturedReason, Object.keys(first.fields)[0]], ['fieldCount', 'Symbol(s0)']);
  assert.deepEqual(second, first);
});

test('what has a name too long to be looked at is withheld', (context) => {
  const { events: caught } = run(context, `
    strobe.addProbe(${snapshot});
    ${holds}
    const long = 'n'.repeat(3_000_000);
    const named = Object.defineProperty(function () {}, 'name', { value: long });
    const values = [{ [long]: 'a' }, { [Symbol(long)]: 'a' }, new Map([[long, 'a'], [Symbol(long), 'b']]), new named(), Symbol(long), named];
    const found = values.map((value) => typeof holds.hold(value));`);
  const [string, symbol, map, instance, alone, called] = shownIn(caught);
  for (const { fields } of [string, symbol]) {
    assert.deepEqual(Object.values(fields), [{ type: 'string', notCapturedReason: 'redactedIdent' }]);
    assert.ok(Object.keys(fields)[0].length < 1000);
  }
  assert.deepEqual(map.entries.map(([, value]) => value.notCapturedReason), ['redactedIdent', 'redactedIdent']);
  assert.equal(instance.notCapturedReason, 'redactedType');
  assert.equal(alone.type, 'symbol');
  assert.ok(alone.value.startsWith('Symbol(nnn') && alone.value.length < 5000);
  assert.equal(called.type, 'Function');
});

test('the clock is looked at after each object of many names', (context) => {
  const { events: caught } = run(context, `
    strobe.addProbe({ ...${snapshot}, capture: { maxFieldCount: 1 } });
    ${holds}
    const dear = () => { const made = {}; for (let at = 0; at < 9_000; at += 1) made['k' + at] = at; return made; };
    const found = [holds.hold(Array.from({ length: 60 }, dear))];`, { captureTimeoutMs: 1 });
  const [list] = shownIn(caught);
  assert.equal(list.notCapturedReason, 'timeout');
  assert.ok(list.elements.length < 20, String(list.elements.length));
});

test('of the largest integers the first digits and the size are told, in less time than it takes to copy them', (context) => {
  const { found, events: caught } = run(context, `
    strobe.addProbe(${snapshot});
    ${holds}
    const digits = BigInt('0x' + 'fedcba9876543210'.repeat(20));
    const power = 1n << 8_000_000n;
    const values = [digits << 8_000_000n, -(digits << 8_000_000n), power, -power, power - 1n, 1n - power, -1n - power, (1n << 4_194_304n) - 1n, 1n << 4_194_304n];
    const found = { types: values.map((value) => typeof holds.hold(value)) };
    const giant = 1n << 500_000_000n;
    const time = (step) => { const start = process.hrtime.bigint(); for (let at = 0; at < 10; at += 1) step(); return Number(process.hrtime.bigint() - start); };
    found.shown = time(() => holds.hold(giant));
    found.copied = time(() => -giant);`);
  const fedcba = 'fedcba9876543210'.repeat(16);
  const [one, ones] = ['1'.padEnd(256, '0'), 'f'.repeat(256)];
  const expected = [
    [`0x${fedcba}`, 8_001_280],
    [`-0x${fedcba}`, 8_001_280],
    [`0x${one}`, 8_000_001],
    [`-0x${one}`, 8_000_001],
    [`0x${ones}`, 8_000_000],
    [`-0x${ones}`, 8_000_000],
    [`-0x${one}`, 8_000_001],
    [`0x${ones}`, 4_194_304],
    [`0x${one}`, 4_194_305],
  ];
  const shown = shownIn(caught);
  assert.deepEqual(shown.slice(0, expected.length).map(({ value, size }) => [value, size]), expected);
  assert.deepEqual(shown.at(-1), { type: 'bigint', value: `0x1${'0'.repeat(255)}`, truncated: true, size: 500_000_001 });
  assert.ok(found.shown < found.copied, JSON.stringify(found));
});

test('a map that others change while a call waits is shown as it is at each end', (context) => {
  const { found, events: caught } = run(context, `
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'holds.cjs', methodName: 'change' }, captureSnapshot: true, evaluateAt: 'ENTRY' });
    strobe.addProbe({ id: 'b', type: 'LOG_PROBE', where: { sourceFile: 'holds.cjs', lines: ['9'] }, captureSnapshot: true });
    ${holds}
    const map = new Map([['one', 1]]);
    // It changes in each turn, and between the two halves of the events.
    let turns = 0;
    const timer = setInterval(() => { map.set('turn ' + turns, { turns }); map.delete('one'); turns += 1; }, 1);
    const changed = new Promise((done) => setTimeout(done, 50));
    const size = await holds.change(map, changed);
    clearInterval(timer);
    const found = { size, turns };`);
  const ends = caught.find((event) => event.debugger.snapshot.probe.id === 'a').debugger.snapshot.captures;
  assert.deepEqual(ends.entry.arguments.map, { type: 'Map', entries: [[{ type: 'string', value: 'one' }, { type: 'number', value: '1' }]], size: 1 });
  const line = caught.find((event) => event.debugger.snapshot.probe.id === 'b').debugger.snapshot.captures.lines['9'];
  for (const shown of [ends.return.arguments.map, line.arguments.map]) {
    assert.equal(shown.size, found.size);
    assert.equal(shown.entries.length, Math.min(found.size, 100));
    assert.deepEqual(shown.entries[0][0], { type: 'string', value: 'turn 0' });
  }
});
