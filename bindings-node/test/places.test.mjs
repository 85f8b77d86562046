// Places: what is told of where something is, in the files as people wrote them. Programs are run by the command.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const apps = fileURLToPath(new URL('apps/places/', import.meta.url));
const bin = fileURLToPath(new URL('../bin/stroboscope.mjs', import.meta.url));

function run(words, options = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'run', '--json', '-', '--rate', 'all', ...words], {
    cwd: apps, encoding: 'utf8', timeout: 60_000, ...options,
  });
  const events = stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  return { status, stdout, stderr, events };
}

/** The frames of an event that are in a folder, as `function file:line:column`. */
function frames(event, folder = apps) {
  return event.debugger.snapshot.stack
    .filter(({ fileName }) => fileName?.startsWith(folder))
    .map(({ function: name, fileName, lineNumber, columnNumber }) => {
      return `${name} ${path.relative(folder, fileName)}:${lineNumber}:${columnNumber}`;
    });
}

test('frames are those of the program, in its own lines and columns', () => {
  const bare = [
    'watched stacks.cjs:4:23',
    'inner stacks.cjs:3:48',
    'get sum stacks.cjs:12:22',
  ];
  const words = ['--at', 'stacks.cjs:4', '--capture', '--at', 'stacks.cjs:3', '--log', 'x', '--', 'stacks.cjs'];
  const { events, stderr } = run(words);
  const stacks = events.filter((event) => event.debugger.snapshot.captures).map((event) => frames(event));
  assert.deepEqual(stacks[0], ['watched stacks.cjs:4:23', 'mapped stacks.cjs:21:10', ' stacks.cjs:25:1'], stderr);
  // What goes on after an await has nothing below it.
  assert.deepEqual(stacks[1], [...bare, 'later stacks.cjs:15:22']);
  assert.deepEqual(stacks[2], ['watched stacks.cjs:4:23', 'later stacks.cjs:15:34']);
});

test('all functions of a stack can have probes', () => {
  const words = ['watched', 'inner', 'mapped', 'later', 'sum', 'constructor'].flatMap((name) => ['--method', `stacks.cjs:${name}`, '--capture']);
  const { events, stderr } = run([...words, '--', 'stacks.cjs']);
  const of = (name) => events.filter((event) => event.debugger.snapshot.probe.location.method.endsWith(name)).map((event) => frames(event));
  assert.deepEqual(of('constructor')[0], ['Till stacks.cjs:11:32', ' stacks.cjs:24:14'], stderr);
  assert.deepEqual(of('mapped')[0], ['mapped stacks.cjs:22:1', ' stacks.cjs:25:1']);
  assert.deepEqual(of('watched')[0], ['watched stacks.cjs:4:87', 'mapped stacks.cjs:21:10', ' stacks.cjs:25:1']);
  assert.deepEqual(of('inner')[0], ['inner stacks.cjs:3:60', 'get sum stacks.cjs:12:22', 'later stacks.cjs:15:22']);
  assert.deepEqual(of('later')[0], ['later stacks.cjs:16:3']);
});

test('an exception that nobody catches is shown where it was thrown, without a word of ours but one', () => {
  const { status, stderr } = run(['--method', 'stacks.cjs:watched', '--log', '{@exception}', '--', 'stacks.cjs']);
  assert.equal(status, 1);
  assert.match(stderr, /^RangeError: too much: 12\n +at fail \(.*stacks\.cjs:7:9\)$/m);
  assert.doesNotMatch(stderr, /\$s_|\$s\.|\$strobe/);
});

test('an exception that goes on out of a probed function shows one line of ours, in the line of the function', () => {
  const { status, stderr } = run(['--method', 'throws.cjs:pay', '--log', '{amount}', '--', '../throws.cjs'], { cwd: apps });
  assert.equal(status, 1);
  assert.match(stderr, /throws\.cjs:3\n\(error => \{ throw error \}\) \/\/ on its way out of pay\(\), which has a probe\n/);
  assert.match(stderr, /at pay \(.*throws\.cjs:5:11\)/);
  assert.doesNotMatch(stderr, /\$s_|\$strobe/);
});

test('private fields are shown in code of their class, and nothing of the program runs for it', () => {
  const words = ['--at', 'private.cjs:14', '--at', 'private.cjs:12', '--at', 'private.cjs:18', '--', 'private.cjs'];
  const { events, stderr, status } = run(words);
  assert.equal(status, 0, stderr);
  const [inner, look, make] = ['12', '14', '18'].map((line) => {
    return events.map((event) => event.debugger.snapshot.captures.lines[line]).find((lines) => lines !== undefined);
  });
  const { fields } = look.arguments.this;
  assert.equal(fields['#code'].value, '7', stderr);
  assert.equal(fields['#lid'].fields.open.value, 'false');
  assert.deepEqual(Object.keys(fields), ['#code', '#lid']);
  assert.deepEqual(inner.arguments.one, { type: 'Proxy', fields: {} });
  assert.equal(make.arguments.this.type, 'class Box');
});

test('what is not bound yet is left out', () => {
  const { events, stderr } = run(['--at', 'private.cjs:26', '--at', 'private.cjs:33', '--', 'private.cjs']);
  const [first, second, module] = events.map((event) => Object.values(event.debugger.snapshot.captures.lines)[0]);
  assert.equal(first.locals?.late, undefined, stderr);
  assert.equal(second.locals.late.value, '1');
  assert.equal(module.staticFields?.later, undefined);
});

test('functions show the text of the program', () => {
  const bare = spawnSync(process.execPath, ['texts.cjs'], { cwd: apps, encoding: 'utf8' });
  const { stdout, stderr } = run(['--method', 'texts.cjs:plain', '--log', 'x', '--', 'texts.cjs']);
  assert.equal(stdout, bare.stdout, stderr);
});
