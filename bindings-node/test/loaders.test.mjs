// Loaders of others beside ours, in both orders.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { apps, bin, events, node, register } from './processes.mjs';

const loader = (name) => `${apps}loaders/${name}`;

/** Runs a program with preloads in this order; ours comes from the command if it is not among them. */
function run(preloads, probe, program) {
  const words = preloads.flatMap((file) => (file.endsWith('.mjs') ? ['--import', pathToFileURL(file).href] : ['--require', file]));
  const { stdout, stderr, status } = node([bin, 'run', '--json', '-', ...probe, '--', process.execPath, ...words, program]);
  assert.equal(status, 0, stderr);
  const own = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('{')).join('\n');
  return { messages: events(stdout).map((event) => event.message), own, stderr };
}

test('one in Module.prototype._compile, after ours', () => {
  const found = run([loader('counts.cjs')], ['--at', 'work.cjs:4', '--log', '{n}'], 'told.cjs');
  assert.deepEqual(found.messages, ['1'], found.stderr);
  assert.equal(found.own, '2 2');
});

test('one in Module.prototype._compile, before ours', (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'loaders-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'probes.json');
  writeFileSync(file, JSON.stringify([{ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: '{n}' }]));
  const variables = { STROBE_ENABLED: 'true', DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: file, STROBE_NDJSON: '-' };
  const { stdout, stderr } = node(['--require', loader('counts.cjs'), '--require', register, 'told.cjs'], { variables });
  assert.deepEqual(events(stdout).map((event) => event.message), ['1'], stderr);
  // Files of ours came through it too.
  assert.match(stdout, /^2 \d+$/m);
});

test('one in hooks of modules of ES', () => {
  const found = run([loader('register-modules.mjs')], ['--at', 'total.mjs:4', '--log', '{sum}'], 'seen.mjs');
  assert.deepEqual(found.messages, ['0', '1'], found.stderr);
  assert.equal(found.own, '3 total.mjs');
});

test('one that makes other lines: it is said, and functions have their probes', () => {
  const line = run([loader('compact.cjs')], ['--at', 'work.cjs:4', '--log', '{n}'], 'told.cjs');
  if (module.registerHooks) {
    // Ours come before it there.
    assert.deepEqual(line.messages, ['1'], line.stderr);
  } else {
    assert.deepEqual(line.messages, []);
    assert.match(line.stderr, /the text that runs has 1 lines and the file has 8: another loader has changed it/);
  }
  const method = run([loader('compact.cjs')], ['--method', 'work.cjs:work', '--log', '{@return}'], 'told.cjs');
  assert.deepEqual(method.messages, ['2'], method.stderr);
});
