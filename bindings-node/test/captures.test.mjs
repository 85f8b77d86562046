// Capture expressions, through real probes: limits of their own, what a failing one costs, both ends of a call, and that what has the
// name of a secret leaves in none of them.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { answer, events } from './processes.mjs';

const MODULE = `
class Cart {
  #coupon = 'spring';
  constructor() { this.items = ['apple', 'banana', 'cherry']; this.owner = { name: 'Ada Lovelace', address: { city: 'London' } }; }
  total(rate) {
    const self = this;
    if (rate < 0) throw new Error('below zero');
    this.items = [];
    return rate * 2;
  }
}
module.exports = { Cart };
`;

/** The events of probes `[id, fields]` in the module, by id, and the statuses. `body` has \`Cart\`. */
function run(context, probes, body, settings = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'captures-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const [file, ndjson] = [path.join(folder, 'basket.cjs'), path.join(folder, 'events.ndjson')];
  writeFileSync(file, MODULE);
  const statuses = answer(
    `for (const [id, fields] of ${JSON.stringify(probes)}) strobe.addProbe({ id, version: 1, type: 'LOG_PROBE', template: 'x', ...fields });
    const { Cart } = require(${JSON.stringify(file)});
    ${body}
    await strobe.flush(10);
    const statuses = strobe.status();
    await strobe.stop(5);
    return statuses;`,
    { ndjson, rateLimits: 'off', cpuBudget: 100, ...settings },
  );
  const all = events(readFileSync(ndjson, 'utf8'));
  const of = (id) => all.filter((event) => event.debugger.snapshot.probe.id === id).map((event) => event.debugger.snapshot);
  return { of, statuses };
}

const line = { sourceFile: 'basket.cjs', lines: ['7'] };
const total = { sourceFile: 'basket.cjs', methodName: 'Cart.total' };
const expressions = (texts) => Object.entries(texts).map(([name, dsl]) => ({ name, expr: { dsl } }));
const errors = (snapshot) => snapshot.evaluationErrors.map(({ expr, message }) => [expr, message]);

test('each has limits of its own, and those that it does not name from the probe', (context) => {
  const captureExpressions = [
    { name: 'short', expr: { dsl: 'self.owner.name' }, capture: { maxLength: 3 } },
    { name: 'flat', expr: { dsl: 'self.owner' }, capture: { maxReferenceDepth: 0 } },
    { name: 'two', expr: { dsl: 'self.items' }, capture: { maxCollectionSize: 2 } },
    { name: 'of.the.probe', expr: { dsl: 'self.owner' } },
    { name: 'one', expr: { dsl: 'self.owner' }, capture: { maxFieldCount: 1, maxLength: 99 } },
    { name: 'private', expr: { json: { getmember: [{ ref: 'self' }, '#coupon'] } } },
    { name: 'size', expr: { dsl: 'len(self.items)' } },
    { name: 'kept', expr: { dsl: 'filter(self.items, {startsWith(@it, "b")})' } },
  ];
  const { of } = run(context, [['a', { where: line, captureExpressions, capture: { maxLength: 5 } }]], 'new Cart().total(1);');
  const [{ captures, evaluationErrors }] = of('a');
  assert.deepEqual(evaluationErrors, []);
  assert.deepEqual(Object.keys(captures.lines['7']), ['captureExpressions']);
  const came = captures.lines['7'].captureExpressions;
  assert.deepEqual(came.short, { type: 'string', value: 'Ada', truncated: true, size: 12 });
  assert.deepEqual(came.flat, { type: 'Object', notCapturedReason: 'depth' });
  assert.deepEqual([came.two.elements.length, came.two.notCapturedReason, came.two.size], [2, 'collectionSize', 3]);
  assert.deepEqual(came.of_the_probe.fields.name, { type: 'string', value: 'Ada L', truncated: true, size: 12 });
  assert.deepEqual(came.of_the_probe.fields.address.fields.city.value, 'Londo');
  assert.deepEqual([Object.keys(came.one.fields), came.one.fields.name.value, came.one.notCapturedReason], [['name'], 'Ada Lovelace', 'fieldCount']);
  assert.equal(came.private.value, 'sprin');
  assert.deepEqual(came.size, { type: 'number', value: '3' });
  assert.deepEqual(came.kept.elements.map(({ value }) => value), ['banan']);
});

test('a failing one costs its entry only, at both ends of a call', (context) => {
  const captureExpressions = expressions({ rate: 'rate', items: 'len(self.items)', back: '@return', lost: '@exception.message', no: 'nosuch.x', took: '@duration >= 0' });
  const here = expressions({ rate: 'rate', items: 'len(this.items)', back: '@return', lost: '@exception.message', no: 'nosuch.x', took: '@duration >= 0' });
  const { of, statuses } = run(
    context,
    [
      ['entry', { where: total, evaluateAt: 'ENTRY', captureExpressions: here }],
      ['exit', { where: total, evaluateAt: 'EXIT', captureExpressions: here }],
      ['line', { where: line, captureExpressions }],
      ['never', { where: line, when: { dsl: 'rate > 100' }, captureExpressions }],
    ],
    'const cart = new Cart(); cart.total(1); try { cart.total(-1); } catch {}',
  );
  const point = (of) => Object.fromEntries(Object.entries(of.captureExpressions).map(([name, { value }]) => [name, value]));
  const missing = ['no', "No such variable: 'nosuch'"];
  const absent = (...names) => names.map((name) => [{ back: 'back', lost: 'lost', took: 'took' }[name], `'${{ back: '@return', lost: '@exception', took: '@duration' }[name]}' is not available here`]);

  const [first, second] = of('entry');
  assert.deepEqual(point(first.captures.entry), { rate: '1', items: '3' });
  assert.deepEqual(point(first.captures.return), { rate: '1', items: '0', back: '2', took: 'true' });
  assert.deepEqual(errors(first), [...absent('back', 'lost'), missing, ...absent('took'), ...absent('lost'), missing]);
  assert.deepEqual(point(second.captures.return), { rate: '-1', items: '0', lost: 'below zero', took: 'true' });

  const [exit, thrown] = of('exit');
  assert.deepEqual(Object.keys(exit.captures), ['return']);
  assert.deepEqual(point(exit.captures.return), { rate: '1', items: '0', back: '2', took: 'true' });
  assert.deepEqual(errors(exit), [...absent('lost'), missing]);
  assert.deepEqual(errors(thrown), [...absent('back'), missing]);

  const [hit] = of('line');
  assert.deepEqual(point(hit.captures.lines['7']), { rate: '1', items: '3' });
  assert.deepEqual(errors(hit), [...absent('back', 'lost'), missing, ...absent('took')]);
  assert.deepEqual(of('never'), [], 'a hit that is not wanted produces no error');
  for (const { id, state, dropped } of statuses.filter(({ id }) => id !== 'never')) assert.deepEqual([state, dropped ?? {}], ['emitting', {}], id);
});

test('one that runs out of time costs itself and those behind it, and the event is sent', (context) => {
  const captureExpressions = expressions({ before: 'rate', dear: 'any(self.many, {any(self.many, {matches("xxxxxxxxxxxxxxxx", @it)})})', after: 'rate' });
  const body = 'const cart = new Cart(); cart.many = Array.from({ length: 210 }, (_, at) => "y" + at); cart.total(1);';
  const { of } = run(context, [['a', { where: line, captureExpressions }]], body, { evaluationTimeoutMs: 1 });
  const [{ captures, evaluationErrors }] = of('a');
  const came = captures.lines['7'].captureExpressions;
  assert.deepEqual(came, { before: { type: 'number', value: '1' }, after: { notCapturedReason: 'timeout' } });
  assert.deepEqual(evaluationErrors, [{ expr: 'dear', message: 'Evaluation took longer than 1 ms' }]);
});

test('a snapshot wins over them, and of two with one name the last counts', (context) => {
  const twice = [...expressions({ a: 'rate' }), ...expressions({ a: 'len(self.items)' })];
  const { of } = run(
    context,
    [
      ['snapshot', { where: line, captureSnapshot: true, captureExpressions: expressions({ a: 'rate' }) }],
      ['twice', { where: line, captureExpressions: twice }],
    ],
    'new Cart().total(1);',
  );
  assert.equal(of('snapshot')[0].captures.lines['7'].captureExpressions, undefined);
  assert.equal(of('snapshot')[0].captures.lines['7'].arguments.rate.value, '1');
  assert.equal(of('twice')[0].captures.lines['7'].captureExpressions.a.value, '3');
});

// ---- secrets ---------------------------------------------------------------------------------------------------------------

const rules = readFileSync(new URL('../../core/src/capture/redact.rs', import.meta.url), 'utf8');
const names = [...rules.slice(rules.indexOf('BUILT_IN: ['), rules.indexOf('];')).matchAll(/"(\w+)"/g)].map(([, name]) => name);

/** A name as people write it. */
const spellings = (name) => [name, name.toUpperCase(), `_${name}_`, `$${name[0]}_${name.slice(1)}`, `${name.slice(0, 2)}-${name.slice(2)}`];
const SECRET = 's3cr3t-0f-m1ne';
const isName = (text) => /^[A-Za-z_$][\w$]*$/.test(text);

test('no default name of a secret leaves in a capture expression, however it is spelled and reached', (context) => {
  assert.equal(names.length, 85);
  const all = names.flatMap(spellings);
  const locals = all.filter(isName);
  const folder = mkdtempSync(path.join(tmpdir(), 'secrets-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const [file, ndjson] = [path.join(folder, 'strongroom.cjs'), path.join(folder, 'events.ndjson')];
  const declared = locals.map((name) => `const ${name} = '${SECRET}';`).join('');
  writeFileSync(
    file,
    `module.exports = function open(all) {\n${declared}
    const own = {}, map = new Map(), fields = new (class Vault {})();
    for (const name of all) own[name] = '${SECRET}', map.set(name, '${SECRET}'), fields[name] = '${SECRET}';
    const list = [own, map, fields];
    return all.length; // here
    };`,
  );
  const here = String(readFileSync(file, 'utf8').split('\n').findIndex((text) => text.includes('// here')) + 1);
  const ways = [
    ...locals,
    ...locals.map((name) => `own.${name}`),
    ...locals.map((name) => `fields.${name}`),
    ...all.map((name) => `own["${name}"]`),
    ...all.map((name) => `map["${name}"]`),
    ...all.map((_, at) => `own[all[${at}]]`),
    ...all.map((_, at) => `map[all[${at}]]`),
    ...all.map((_, at) => `fields[all[${at}]]`),
  ];
  const whole = ['own', 'map', 'fields', 'list', 'filter(list, {true})', 'filter(map, {true})', 'filter(own, {true})'];
  const probes = [];
  const texts = [...ways, ...whole];
  for (let at = 0; at < texts.length; at += 50) {
    const captureExpressions = texts.slice(at, at + 50).map((dsl, index) => ({ name: `n${at + index}`, expr: { dsl }, capture: { maxFieldCount: 500, maxCollectionSize: 500 } }));
    probes.push({ id: `p${at}`, version: 1, type: 'LOG_PROBE', template: 'x', where: { sourceFile: 'strongroom.cjs', lines: [here] }, captureExpressions });
  }
  const given = path.join(folder, 'given.json');
  writeFileSync(given, JSON.stringify([probes, all]));
  answer(
    `const [probes, all] = JSON.parse(require('fs').readFileSync(${JSON.stringify(given)}, 'utf8'));
    for (const probe of probes) strobe.addProbe(probe);
    require(${JSON.stringify(file)})(all);
    await strobe.stop(10);
    return 0;`,
    { ndjson, rateLimits: 'off', cpuBudget: 100, captureTimeoutMs: 1000, evaluationTimeoutMs: 1000 },
  );
  const text = readFileSync(ndjson, 'utf8');
  assert.ok(!text.includes(SECRET), text.slice(text.indexOf(SECRET) - 300, text.indexOf(SECRET) + 100));
  const came = events(text).map((event) => event.debugger.snapshot);
  assert.equal(came.length, probes.length);
  const refused = came.flatMap((snapshot) => snapshot.evaluationErrors);
  assert.equal(refused.length, ways.length);
  for (const { message } of refused) assert.match(message, /^Could not evaluate the expression because '.*' was redacted$/);
  const kept = Object.assign({}, ...came.map((snapshot) => snapshot.captures.lines[here].captureExpressions));
  assert.deepEqual(Object.keys(kept).sort(), whole.map((_, at) => `n${ways.length + at}`).sort());
  for (const value of Object.values(kept)) assert.ok(JSON.stringify(value).includes('redactedIdent'));
});
