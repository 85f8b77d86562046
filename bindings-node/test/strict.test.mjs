// Strict capture in a real program: no value leaves it by any way; types, sizes and equality do.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { events, index, node } from './processes.mjs';

// Whatever the program holds, written so that it can be found again.
const PROGRAM = `
class Card { #hidden = 'HUSH_hidden'; constructor(number) { this.number = number; } get asked() { return 'HUSH_asked'; }
  pay(amount, ...rest) {
    const text = 'HUSH_text', long = 'HUSH_'.repeat(100), wide = 'HUSH_\\u20ac', same = 'Ada Lovelace', other = 'HUSH_other';
    const raw = Buffer.from('HUSH_raw'), bytes = new Uint8Array([72, 85, 83, 72]), floats = new Float64Array([4711.5]);
    const items = ['HUSH_a', 'HUSH_b'], unique = new Set(['HUSH_set', 4711]), hole = [, 'HUSH_after'];
    const table = new Map([['HUSH_key', 'HUSH_value'], [4711, 4712], [{ inner: 4711 }, null], [Symbol('HUSH_keyed'), true]]);
    const plain = { name: 'HUSH_name', deep: { deeper: { deepest: ['HUSH_deep', 4711] } } };
    const big = 4711n ** 40n, huge = 4711n << 5000n, ratio = 4711.25, small = 4711, flag = true, nothing = null, missing = undefined;
    const day = new Date(1947, 10, 4), pattern = /HUSH_pattern/g, symbol = Symbol('HUSH_symbol'), boxed = new String('HUSH_boxed');
    const number = new Number(4711), call = function HUSH_function() {}, made = class HUSH_class {}, walk = items.values();
    const error = Object.assign(new TypeError('HUSH_error'), { code: 'HUSH_code' }), proxy = new Proxy({ a: 'HUSH_proxy' }, {});
    const promise = Promise.resolve('HUSH_promise'), weak = new WeakMap([[items, 'HUSH_weak']]), view = new DataView(new ArrayBuffer(12));
    if (amount < 0) throw new RangeError('HUSH_raised'); // here
    return 'HUSH_returned';
  }
}
function run() {
  new Card('HUSH_card').pay(4711, 'HUSH_rest');
  try { new Card('HUSH_card').pay(-4711); } catch {}
}
module.exports = { run };
`;

const everything = { maxReferenceDepth: 5, maxCollectionSize: 500, maxLength: 5000, maxFieldCount: 500 };
const line = { sourceFile: 'card.cjs', lines: [String(PROGRAM.split('\n').findIndex((text) => text.includes('// here')) + 1)] };
const method = { sourceFile: 'card.cjs', methodName: 'Card.pay' };
const segments = (texts) => texts.flatMap((dsl, at) => [...(at > 0 ? [{ str: ' ' }] : []), { dsl }]);

/** All that left a program, its events, and the statuses. */
function run(context, probes, { mode = 'strict', key = 'key' } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'strict-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const ndjson = path.join(folder, 'events.ndjson');
  writeFileSync(path.join(folder, 'card.cjs'), PROGRAM);
  const program = `
    const strobe = require(${JSON.stringify(index)});
    (async () => {
      strobe.start({ ndjson: ${JSON.stringify(ndjson)}, rateLimits: 'off', cpuBudget: 100, terminal: 'always', captureTimeoutMs: 1000 });
      for (const probe of ${JSON.stringify(probes)}) strobe.addProbe({ version: 1, type: 'LOG_PROBE', where: ${JSON.stringify(line)}, ...probe });
      require(${JSON.stringify(path.join(folder, 'card.cjs'))}).run();
      await strobe.flush(10);
      const statuses = strobe.status();
      await strobe.stop(5);
      console.log(JSON.stringify(statuses));
    })();`;
  const variables = { STROBE_CAPTURE: mode, STROBE_CAPTURE_KEY: key };
  const { stdout, stderr, status } = node(['-e', program], { variables });
  assert.equal(status, 0, stderr);
  const out = readFileSync(ndjson, 'utf8');
  return { text: out + stderr, came: events(out), statuses: JSON.parse(stdout.trim().split('\n').at(-1)) };
}

/** What of the values stands in a text. Hashes, and numbers of ours, are none. */
function leaks(text) {
  const own = text
    .replaceAll(/"hash":"[0-9a-f]{16}"|#[0-9a-f]{16}/g, '')
    .replaceAll(/"(?:timestamp|duration|thread_id|size|lineNumber|columnNumber)":\d+/g, '')
    .replaceAll(/"(?:id|runtimeId|thread_name|service|hostname|fileName|name|file)":"[^"]*"/g, '')
    .replaceAll('class HUSH_class', 'class');
  return [...own.matchAll(/HUSH_\w+|471[12]\d*|1947|Lovelace/g)].map(([found]) => found);
}

const names = `this amount rest text long wide raw bytes floats items unique hole table plain big huge ratio small flag nothing missing day
  pattern symbol boxed number call made walk error proxy promise weak view plain.name items[0] this.number plain.deep.deeper`.split(/\s+/);

test('nothing of any value leaves', (context) => {
  const captureExpressions = names.map((dsl, at) => ({ name: `e${at}`, expr: { dsl } }));
  const { text, came, statuses } = run(context, [
    { id: 'line', captureSnapshot: true, capture: everything, segments: segments(names) },
    { id: 'entry', where: method, evaluateAt: 'ENTRY', captureSnapshot: true, capture: everything },
    { id: 'exit', where: method, captureSnapshot: true, capture: everything, segments: segments(['@return', '@exception', '@exception.message']) },
    { id: 'captured', captureExpressions, capture: everything },
    { id: 'failing', segments: segments(['nosuch', 'plain.nosuch', 'items[9]', 'len(amount)', 'this.asked']) },
  ]);
  for (const { id, state, reason, dropped } of statuses) assert.deepEqual([state, dropped ?? {}], ['emitting', {}], `${id}: ${reason}`);
  assert.equal(came.length, 10);
  assert.deepEqual(leaks(text), []);
  const of = (id) => came.find((event) => event.debugger.snapshot.probe.id === id);
  const { arguments: given, locals } = of('line').debugger.snapshot.captures.lines[line.lines[0]];
  const seen = { ...given, ...locals };
  assert.deepEqual([seen.long.type, seen.long.size, seen.nothing, seen.missing], ['string', 500, { type: 'null', isNull: true }, { type: 'undefined' }]);
  assert.deepEqual([seen.items.size, seen.table.size, seen.raw.size], [2, 4, 8]);
  assert.deepEqual(Object.keys(seen.plain.fields), ['name', 'deep']);
  assert.deepEqual(Object.keys(seen.this.fields), ['number', '#hidden']);
  assert.deepEqual(Object.keys(seen.small), ['type', 'hash']);
  assert.deepEqual(seen.small.hash, seen.number.hash);
  assert.deepEqual(seen.text.hash === seen.other.hash, false);
  assert.ok(of('line').message.startsWith('{Card} {number} {Array} {string} {string} {string} {Buffer} {Uint8Array} {Float64Array} {Array} {Set}'), of('line').message);
  const { throwable } = came.filter((event) => event.debugger.snapshot.probe.id === 'exit')[1].debugger.snapshot.captures.return;
  assert.deepEqual([throwable.type, throwable.message], ['RangeError', '{withheld}']);
});

test('equal values have equal hashes where the key is one, in Python too', (context) => {
  const probes = [{ id: 'line', captureSnapshot: true, capture: { maxFieldCount: 100 } }];
  const seen = (key) => run(context, probes, { key }).came[0].debugger.snapshot.captures.lines[line.lines[0]].locals;
  const [first, again, other] = [seen('key'), seen('key'), seen('another')];
  assert.deepEqual(first.text, again.text);
  assert.notEqual(first.text.hash, other.text.hash);
  assert.deepEqual(first.same, { type: 'string', hash: 'b3df5ad72cdb8902', size: 12 });
});

test('numbers and booleans leave only where they may', (context) => {
  const { text, came } = run(context, [{ id: 'line', captureSnapshot: true, template: '{amount} {text} {flag} {number}' }], { mode: 'strict+numbers' });
  assert.equal(came[0].message, '4711 {string} true {Number}');
  const seen = came[0].debugger.snapshot.captures.lines[line.lines[0]].locals;
  assert.deepEqual([seen.small.value, seen.flag.value, seen.ratio.value], ['4711', 'true', '4711.25']);
  for (const [key] of seen.table.entries.slice(0, 2)) assert.equal(key.value, undefined);
  assert.deepEqual(seen.table.entries[1][1].value, '4712');
  assert.deepEqual(leaks(text).filter((found) => found.startsWith('HUSH')), []);
});

test('what would tell more is refused', (context) => {
  const { came, statuses } = run(context, [
    { id: 'when', when: { dsl: "startsWith(text, 'H')" } },
    { id: 'message', template: '{substring(text, 0, 1)}' },
    { id: 'captured', captureExpressions: [{ name: 'a', expr: { dsl: 'amount > 3' } }] },
    { id: 'metric', type: 'METRIC_PROBE', kind: 'GAUGE', metricName: 'm', value: { dsl: 'amount' } },
    { id: 'fine', when: { dsl: "text == 'HUSH_text' && len(items) == 2 && amount != 3" }, template: '{len(items)} {isEmpty(items)}' },
    { id: 'own', captureExpressions: [{ name: 'size', expr: { dsl: 'len(items)' } }] },
  ]);
  assert.deepEqual(statuses.map(({ state }) => state), ['error', 'error', 'error', 'error', 'emitting', 'emitting']);
  for (const { reason } of statuses.slice(0, 4)) assert.match(reason, /^Invalid expression: under strict capture /);
  const of = (id) => came.find((event) => event.debugger.snapshot.probe.id === id);
  assert.equal(of('fine').message, '2 false');
  assert.deepEqual(of('own').debugger.snapshot.captures.lines[line.lines[0]].captureExpressions.size, { type: 'number', value: '2' });
});
