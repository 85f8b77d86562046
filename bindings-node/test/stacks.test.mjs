// What stands in `stack`, by what a probe captures and by the setting `logStack`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { answer, events } from './processes.mjs';

const bin = fileURLToPath(new URL('../bin/stroboscope.mjs', import.meta.url));
const apps = fileURLToPath(new URL('apps/', import.meta.url));

/** Function and line of each frame of the one event of a run. */
function stack(words, env = {}) {
  const given = ['run', '--json', '-', ...words, '--', 'deep.cjs'];
  const out = execFileSync(process.execPath, [bin, ...given], { cwd: apps, encoding: 'utf8', env: { ...process.env, ...env }, stdio: 'pipe' });
  const [event, ...more] = out.trim().split('\n').map(line => JSON.parse(line));
  assert.deepEqual(more, []);
  return event.debugger.snapshot.stack.map(({ fileName, function: name, lineNumber }) => [fileName.split('/').at(-1), name, lineNumber]);
}

const whole = [['deep.cjs', 'inner', 9], ['deep.cjs', 'outer', 4], ['deep.cjs', '', 12]];

test('a probe that captures shows the stack, with no frame of ours', () => {
  assert.deepEqual(stack(['--at', 'deep.cjs:9']).slice(0, 3), whole);
});

test('a log shows its own place, or the stack if it is asked for', () => {
  const log = ['--at', 'deep.cjs:9', '--log', 'is {twice}'];
  assert.deepEqual(stack(log), whole.slice(0, 1));
  assert.deepEqual(stack(log, { STROBE_LOG_STACK: 'all' }).slice(0, 3), whole);
});

test('the place of a function is where it begins', () => {
  assert.deepEqual(stack(['--method', 'deep.cjs:outer', '--log', 'is {@return}']), [['deep.cjs', 'outer', 3]]);
});

test('a condition that fails shows where, with no frame of ours', () => {
  const failing = ['--at', 'deep.cjs:9', '--when', 'n.missing.more == 1', '--capture'];
  assert.deepEqual(stack(failing).slice(0, 3), whole);
  assert.deepEqual(stack([...failing.slice(0, -1), '--log', 'never']), whole.slice(0, 1));
});

/** What programs do with what the engine asks as it makes a stack, one after the other. */
const changes = [
  `Error.prepareStackTrace = counts`,
  `Error.stackTraceLimit = 1`,
  `Object.defineProperty(Error, 'stackTraceLimit', { get: counts, configurable: true })`,
  `delete Error.stackTraceLimit`,
  `Object.defineProperty(Error, 'prepareStackTrace', { value: counts, writable: true, configurable: true })`,
  `Object.defineProperty(Error, 'prepareStackTrace', { get: counts, configurable: true })`,
  `delete Error.prepareStackTrace`,
];

test('whatever a program makes of the properties of Error, a hit shows the stack, runs none of it, and leaves it as it was', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-stacks-'));
  const ndjson = path.join(folder, 'events.ndjson');
  const found = answer(
    `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, captureSnapshot: true });
    const { work } = require(process.cwd() + '/work.cjs');
    let ran = 0;
    const counts = () => (ran += 1);
    const now = () => ['prepareStackTrace', 'stackTraceLimit'].map((name) => Object.getOwnPropertyDescriptor(Error, name));
    const caller = (n) => work(n);
    const found = [];
    for (const change of ${JSON.stringify(changes)}) {
      eval(change);
      const before = now();
      caller(1);
      found.push([ran, require('node:util').isDeepStrictEqual(now(), before)]);
    }
    await strobe.stop(5);
    return found;`,
    { ndjson, rateLimits: 'off', cpuBudget: 100 },
  );
  assert.deepEqual(found, changes.map(() => [0, true]));
  const stacks = events(readFileSync(ndjson, 'utf8')).map((event) => event.debugger.snapshot?.stack).filter((frames) => frames);
  rmSync(folder, { recursive: true });
  assert.deepEqual(stacks.map((frames) => frames.slice(0, 2).map(({ function: name }) => name)), changes.map(() => ['work', 'caller']));
});

test('a stack is whole, and has no more frames than there is room for, however deep the ones before it were', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-stacks-'));
  const ndjson = path.join(folder, 'events.ndjson');
  const depths = [1, 15, 16, 17, 40, 200, ...Array(200).fill(2), 33, 127, 128];
  answer(
    `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, captureSnapshot: true });
    const { work } = require(process.cwd() + '/work.cjs');
    const down = (left) => left === 1 ? work(1) : down(left - 1);
    for (const depth of ${JSON.stringify(depths)}) down(depth);
    await strobe.stop(5);
    return null;`,
    { ndjson, rateLimits: 'off', cpuBudget: 100 },
  );
  const stacks = events(readFileSync(ndjson, 'utf8')).map((event) => event.debugger.snapshot?.stack).filter((frames) => frames);
  rmSync(folder, { recursive: true });
  const rest = stacks[0].length - 1 - depths[0];
  // The engine is asked for 128, of which the guard has one.
  const most = 127;
  assert.deepEqual(stacks.map((frames) => frames.filter(({ function: name }) => name === 'down').length), depths.map((depth) => Math.min(depth, most - 1)));
  assert.deepEqual(stacks.map((frames) => frames.length), depths.map((depth) => Math.min(1 + depth + rest, most)));
});
