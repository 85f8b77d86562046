// Programs of several threads and processes.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer, bin, events, node, register } from './processes.mjs';

/** The messages of all processes of a command, in order. */
function messages(words, variables = {}) {
  const { stdout, stderr, status } = node([bin, 'run', '--json', '-', '--at', 'work.cjs:4', '--log', '{n}', '--', ...words], { variables });
  assert.equal(status, 0, stderr);
  return [events(stdout).map((event) => event.message).sort(), stderr];
}

test('each thread has its probes, and its hits are counted', () => {
  const [found, stderr] = messages(['threads.cjs']);
  assert.deepEqual(found, ['0', '0', '0']);
  assert.match(stderr, /^work\.cjs:4 .*3 hits +3 events$/m);
});

test('what a thread counted is there when it has ended', () => {
  const status = answer(
    `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'x',
      when: { dsl: 'n == -1' } });
    const { once } = require('events');
    const { Worker } = require('worker_threads');
    const preload = { eval: true, execArgv: ['--require', ${JSON.stringify(register)}] };
    const thread = new Worker("require('./work.cjs').work(1); require('./work.cjs').work(2)", preload);
    await once(thread, 'exit');
    return strobe.status()[0];`,
  );
  assert.deepEqual([status.hits, status.rejected], [2, 2]);
});

for (const how of ['cluster', 'fork', 'spawn', 'exec']) {
  test(`processes below the one that was meant carry its probes: ${how}`, () => {
    const [found] = messages(['several.cjs', how]);
    assert.deepEqual(found, how === 'cluster' ? ['0', '0', '1'] : ['0', '1']);
  });
}

test('of several processes the one in which a probe got furthest says why it never fired', () => {
  const words = ['run', '--method', 'work.cjs:nosuch', '--log', 'x', '--at', 'work.cjs:40', '--log', 'y', '--', 'starts.cjs', 'work.cjs'];
  const { stderr, status } = node([bin, ...words]);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /work\.cjs:nosuch +0 hits +0 events\n  no function `nosuch` in work\.cjs$/m);
  assert.match(stderr, /work\.cjs:40 +0 hits +0 events\n  no executable code at line 40; .*$/m);
  assert.doesNotMatch(stderr, /not loaded/);
  assert.match(stderr, /^summed over 2 processes$/m);
});

test('options of Node that a program sets for its children keep the probes', () => {
  const [found] = messages(['several.cjs', 'fork'], { NODE_OPTIONS: '--no-warnings' });
  assert.deepEqual(found, ['0', '1']);
});
