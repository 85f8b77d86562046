// Many probes at once: each function is written once for all of them, and a probe that cannot be there is in nobody's way.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { answer } from './processes.mjs';

const [functions, lines] = [6, 8];

/** A file with functions of so many lines; each line that is one's is found by `lineOf`. It is long, so that to read it takes a while. */
const body = (f) => [`function f${f}(n) {`, ...Array.from({ length: lines }, (_, at) => `  n += ${at};`), '  return n;', '}'].join('\n');
const filler = Array.from({ length: 4000 }, (_, n) => `function g${n}(a, b) { const c = a + b; return [a, b, c].map((x) => x * ${n}); }`).join('\n');
const text = `${Array.from({ length: functions }, (_, f) => body(f)).join('\n')}
module.exports = [${Array.from({ length: functions }, (_, f) => `f${f}`).join(', ')}];
${filler}
`;
const lineOf = (f, at) => f * (lines + 3) + 2 + at;

const wanted = Array.from({ length: functions * lines }, (_, n) => {
  const [f, at] = [Math.floor(n / lines), n % lines];
  return { id: `${f}.${at}`, type: 'LOG_PROBE', where: { sourceFile: 'many.cjs', lines: [String(lineOf(f, at))] }, template: `${f}.${at} {n}` };
});

/** Runs `program` beside the file. It has `add` for all probes, `texts` for the texts of variants that came, and `hits` for those of a call of each function. */
function run(context, program) {
  const home = fs.mkdtempSync(path.join(fs.realpathSync(tmpdir()), 'strobe-many-'));
  context.after(() => fs.rmSync(home, { recursive: true }));
  fs.writeFileSync(path.join(home, 'many.cjs'), text);
  return answer(
    `const addon = require(process.cwd() + '/../../js/own.cjs')('addon.cjs');
    const file = ${JSON.stringify(path.join(home, 'many.cjs'))};
    const wanted = ${JSON.stringify(wanted)};
    const nap = () => new Promise((done) => setTimeout(done, 5));
    const state = (id) => strobe.status().find((one) => one.id === id);
    /** The numbers count all texts of variants of the process. */
    const texts = new Set();
    const shown = require(process.cwd() + '/../../js/own.cjs')('shown.cjs');
    const { runs } = shown;
    shown.runs = (place, file, variant) => {
      if (variant) texts.add(variant.text);
      return runs(place, file, variant);
    };
    // That of the package waits for each until it is placed.
    const add = () => { for (const one of wanted) addon.addProbe(JSON.stringify(one)); };
    const all = async (...states) => { while (!wanted.every(({ id }) => states.includes(state(id).state))) await nap(); };
    const hits = async (of) => {
      for (const f of of) f(1);
      await strobe.flush(5);
      return wanted.map(({ id }) => state(id).emitted);
    };
    ${program}`,
    { rateLimits: 'off', cpuBudget: 100 },
  );
}

const once = wanted.map(() => 1);

test('probes that wait for a file are put into it as it is loaded, each function written once', (context) => {
  const [last, hit] = run(context, `add(); await all('waiting', 'received'); while (!wanted.every(({ id }) => state(id).reason)) await nap();
    const found = await hits(require(file)); return [Math.max(...texts), found];`);
  assert.deepEqual([last, hit], [functions, once]);
});

test('probes that come together are placed together', (context) => {
  const [last, hit, again] = run(context, `const of = require(file); add(); await all('installed', 'emitting');
    const last = Math.max(...texts);
    const found = await hits(of);
    for (const { id } of wanted) strobe.removeProbe(id);
    const { length } = strobe.status();
    for (const f of of) f(1);
    return [last, found, length];`);
  // The first one is placed alone, and while the file is read for it the others come.
  assert.ok(last >= functions && last <= 3 * functions, `${last} variants for ${functions} functions`);
  assert.deepEqual([hit, again], [once, 0]);
});

test('one that has no place costs the others nothing', (context) => {
  const [states, hit] = run(context, `
    wanted[3].where.lines = ['100000']; wanted[9].where = { sourceFile: 'many.cjs', methodName: 'none' };
    add();
    const of = require(file); await all('installed', 'emitting', 'error');
    return [[3, 9].map((at) => state(wanted[at].id).state), await hits(of)];`);
  assert.deepEqual(states, ['error', 'error']);
  assert.deepEqual(hit, once.map((_, at) => (at === 3 || at === 9 ? 0 : 1)));
});

const doors = `const { isProxy } = require('node:util').types;
    const doors = () => Object.getOwnPropertyNames(globalThis).filter((name) => name.startsWith('$strobe_') && isProxy(globalThis[name])).length;`;

test('probes that the program adds one by one are placed together, and are there at the next call', (context) => {
  const [behind, last, hit, left, states] = run(context, `const of = require(file); ${doors}
    for (const one of wanted) strobe.addProbe(one);
    const behind = doors();
    const found = await hits(of);
    return [behind, Math.max(...texts), found, doors(), strobe.status().map((one) => one.state)];`);
  assert.equal(behind, 1);
  assert.ok(last >= functions && last <= 4 * functions, `${last} variants for ${functions} functions`);
  assert.deepEqual(hit, once);
  assert.equal(left, 0);
  assert.deepEqual(new Set(states), new Set(['emitting']));
});

test('nothing stands before functions once their probes are in them, or are gone', (context) => {
  const [asked, later, gone, hit] = run(context, `const of = require(file); ${doors}
    for (const one of wanted) strobe.addProbe(one);
    const asked = strobe.status().map((one) => one.state);
    for (let turns = 0; doors() > 0 && turns < 2000; turns += 1) await nap();
    const later = doors();
    strobe.removeProbe(wanted[0].id);
    strobe.addProbe(wanted[0]);
    strobe.removeProbe(wanted[0].id);
    for (let turns = 0; doors() > 0 && turns < 2000; turns += 1) await nap();
    const gone = doors();
    wanted.shift();
    return [asked, later, gone, await hits(of)];`);
  assert.deepEqual([...new Set(asked)], ['installed']);
  assert.deepEqual([later, gone], [0, 0]);
  assert.deepEqual(hit, once.slice(1));
});

test('one that needs a debugger is waited for', (context) => {
  const [door, state, hit] = run(context, `const more = file + '.more.cjs'; ${doors}
    require('node:fs').writeFileSync(more, 'exports.f = (n) => {\\n  return n;\\n};\\nexports.g = (n) => {\\n  return eval("n");\\n};\\n');
    const { f, g } = require(more);
    const probe = (id, line) => strobe.addProbe({ id, type: 'LOG_PROBE', where: { sourceFile: more, lines: [String(line)] }, template: '{n}' });
    probe('first', 2);
    probe('door', 2);
    const door = doors();
    probe('eval', 5);
    const found = JSON.parse(addon.status()).find(({ id }) => id === 'eval').state;
    f(1); g(2);
    await strobe.flush(5);
    return [door, found, strobe.status().map((one) => one.emitted)];`);
  assert.deepEqual([door, state, hit], [1, 'installed', [1, 1, 1]]);
});
