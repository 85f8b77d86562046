// What stands in `stack`, by what a probe captures and by the setting `logStack`.
import './processes.mjs';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

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
