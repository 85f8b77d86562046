// Values that would take for ever, tell if anything of the program ran, or change meanwhile, through a real probe.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { answer, events } from './processes.mjs';

/** What a program with a session answers, and its events. */
function run(context, body) {
  const folder = mkdtempSync(path.join(tmpdir(), 'values-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const ndjson = path.join(folder, 'events.ndjson');
  const found = answer(`${body} await strobe.stop(5); return found;`, { ndjson, rateLimits: 'off', cpuBudget: 100 });
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
