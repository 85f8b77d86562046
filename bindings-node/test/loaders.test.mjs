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
  assert.deepEqual(line.messages, []);
  assert.match(line.stderr, /the text that runs has 1 lines and the file has 8: another loader has changed it/);
  const method = run([loader('compact.cjs')], ['--method', 'work.cjs:work', '--log', '{@return}'], 'told.cjs');
  assert.deepEqual(method.messages, ['2'], method.stderr);
});

/** A program in which a loader puts a number into a file, as it runs with a probe there and without. */
function changed(preload, file, program) {
  const variables = { MACRO_FILE: file };
  const import_ = ['--import', pathToFileURL(loader(preload)).href];
  const bare = node([...import_, loader(program)], { variables });
  assert.equal(bare.stdout, '101\n', bare.stderr);
  const words = ['--json', '-', '--at', `${file}:3`, '--log', '{sum}', '--', process.execPath, ...import_, loader(program)];
  const probed = node([bin, 'run', ...words], { variables });
  assert.equal(probed.status, 0, probed.stderr);
  assert.match(probed.stdout, /^101$/m);
  assert.deepEqual(events(probed.stdout).map((event) => event.message), ['101'], probed.stderr);
  // With nothing to do for us either: compilers look at what the text ends with.
  const idle = node([bin, 'run', '--at', 'nowhere.cjs:1', '--', process.execPath, ...import_, loader(program)], { variables });
  assert.equal(idle.stdout, '101\n', idle.stderr);
}

test('what a loader makes of a file is what runs where a probe is: in require.extensions', () => {
  changed('extension.cjs', 'macro.js', 'requires.cjs');
  changed('extension.cjs', 'macro.js', 'imports.mjs');
});

test('what a loader makes of a file is what runs where a probe is: in hooks of the same thread', { skip: !module.registerHooks }, () => {
  for (const file of ['macro.js', 'macro.cjs', 'macro.mjs']) {
    changed('sync-hooks.mjs', file, 'requires.cjs');
    changed('sync-hooks.mjs', file, 'imports.mjs');
  }
});

test('what a loader makes of a file is what runs where a probe is: in a thread of hooks', () => {
  changed('async-hooks.mjs', 'macro.mjs', 'imports.mjs');
  if (module.registerHooks) return changed('async-hooks.mjs', 'macro.cjs', 'imports.mjs');
  const words = ['--at', 'macro.cjs:3', '--', process.execPath, '--import', pathToFileURL(loader('async-hooks.mjs')).href, loader('imports.mjs')];
  const { stdout, stderr } = node([bin, 'run', ...words], { variables: { MACRO_FILE: 'macro.cjs', LINGER: '500' } });
  assert.equal(stdout, '101\n', stderr);
  assert.match(stderr, /tier B\), since a loader gives its text in a thread of its own/);
});
