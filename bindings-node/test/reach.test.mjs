// What probes reach: lines of what a module exports, blocks of classes, and variables that the probed code does not name itself.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { apps, bin, events, node } from './processes.mjs';

/** The messages of probes, by a line and what is logged there, and what else was written. */
function messages(...probes) {
  const words = probes.flatMap(([line, text]) => ['--at', `reach.mjs:${line}`, '--log', text]);
  const { stdout, stderr } = node([bin, 'run', '--json', '-', '--rate', 'all', ...words, '--', 'reach.mjs']);
  assert.ok(stdout.split('\n').includes('true 2 1 7 8'), stdout + stderr);
  return { found: events(stdout).map((event) => event.message).sort(), stderr };
}

test('expressions find variables of the module that other functions name', () => {
  const { found, stderr } = messages([7, '{n} {limit} {seen}']);
  assert.deepEqual(found, ["1 2 {No such variable: 'seen'}"], stderr);
  // What hides one of them is not taken for it.
  assert.deepEqual(messages([25, '{limit}']).found, ['3']);
});

test('the line of a function that is exported is its first one', () => {
  const { found, stderr } = messages([3, '{n}']);
  assert.deepEqual(found, ['3'], stderr);
});

test('what is exported is seen as it is made; of a class it is said that it cannot', () => {
  const { found, stderr } = messages([15, '{Box.first}'], [9, 'x']);
  assert.deepEqual(found, ['7'], stderr);
  assert.match(stderr, /a debugger would stop in the constructor of the class: use another line/);
});

test('blocks of classes have lines, at the top level and in functions', () => {
  const { found, stderr } = messages([12, 'top {start}'], [21, 'inner {start}']);
  assert.deepEqual(found, ['inner 8', 'top 7'], stderr);
});

test('an error is shown without its stack, which the engine writes when somebody first reads it', () => {
  const { stdout, stderr } = node([bin, 'run', '--json', '-', '--at', 'reach.mjs:29', '--', 'reach.mjs']);
  const [{ debugger: { snapshot } }] = events(stdout);
  const { error } = snapshot.captures.lines['29'].arguments;
  assert.deepEqual([error.type, error.fields.message.value, Object.keys(error.fields)], ['RangeError', 'too much', ['message']], stderr);
});

/** Probes on all lines of a file that are marked with a star: each is hit, and the program does what it does without. */
function allOf(file) {
  const lines = readFileSync(path.join(apps, file), 'utf8').split('\n');
  const marked = lines.flatMap((line, at) => (line.endsWith('// *') ? [String(at + 1)] : []));
  const words = marked.flatMap((line) => ['--at', `${file}:${line}`, '--capture']);
  const bare = node([file]);
  const { stdout, stderr, status } = node([bin, 'run', '--json', '-', '--rate', 'all', ...words, '--', file]);
  const printed = stdout.split('\n').filter((line) => !line.startsWith('{')).join('\n');
  assert.deepEqual([printed, status], [bare.stdout, bare.status], stderr);
  const hit = new Set(events(stdout).flatMap((event) => Object.keys(event.debugger.snapshot.captures.lines)));
  assert.deepEqual(marked.filter((line) => !hit.has(line)), [], stderr);
}

test('all sorts of code have probes on their lines', () => allOf('forms.mjs'));

const newer = Number.parseInt(process.versions.node, 10) >= 24;
test('and so have blocks with resources', { skip: !newer }, () => allOf('using.mjs'));
