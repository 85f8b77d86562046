// The command, from what is typed to what is shown: it starts programs and looks at what comes out.
import './processes.mjs';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const apps = fileURLToPath(new URL('apps/', import.meta.url));
const bin = fileURLToPath(new URL('../bin/stroboscope.mjs', import.meta.url));

function run(...words) {
  const options = { cwd: apps, encoding: 'utf8', timeout: 30_000 };
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...words], options);
  return { status, stdout, stderr };
}

/** The events that a command wrote to standard output. */
function events(...words) {
  const { stdout, stderr, status } = run('run', '--json', '-', '--rate', 'all', ...words);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return { events: lines.map((line) => JSON.parse(line)), status, stderr };
}

const captures = (event) => event.debugger.snapshot.captures;

test('a line shows its variables before it runs, and the program is as it was', () => {
  const { events: found, status, stderr } = events('--at', 'cart.cjs:10', '--', 'cart.cjs');
  assert.equal(status, 3, stderr);
  assert.equal(found.length, 3, stderr);
  const { arguments: given, locals } = captures(found[1]).lines['10'];
  assert.equal(given.item.fields.name.value, 'milk');
  assert.equal(given.this.type, 'Cart');
  assert.equal(locals.count.value, '1');
});

test('a message is shown on standard error, with a summary', () => {
  const { status, stdout, stderr } = run('run', '--at', 'cart.cjs:10', '--log', 'adds {item.name}', '--', 'cart.cjs');
  assert.equal(status, 3, stderr);
  assert.equal(stdout, '3 items\n');
  for (const name of ['tea', 'milk', 'bread']) assert.match(stderr, new RegExp(`adds ${name}`));
  assert.match(stderr, /cart\.cjs:10 +3 hits +3 events/);
});

test('times are shown in the time zone of the program', () => {
  const clock = () => new Date().toLocaleTimeString('en-GB', { timeZone: 'Asia/Kathmandu' }).slice(0, 5);
  const before = clock();
  const env = { ...process.env, TZ: 'Asia/Kathmandu' };
  const { stderr } = spawnSync(process.execPath, [bin, 'run', '--at', 'cart.cjs:10', '--log', 'adds', '--', 'cart.cjs'], { cwd: apps, encoding: 'utf8', timeout: 30_000, env });
  const shown = [...stderr.matchAll(/^(\d\d:\d\d):\d\d\.\d{3} +cart\.cjs:10/gm)].map(([, time]) => time);
  assert.equal(shown.length, 3, stderr);
  for (const time of shown) assert.ok([before, clock()].includes(time), `${time}, and it was ${before}`);
});

test('a condition decides', () => {
  const { events: found, stderr } = events('--at', 'cart.cjs:10', '--when', 'count > 1', '--log', '{count}', '--', 'cart.cjs');
  assert.deepEqual(found.map((event) => event.message), ['2'], stderr);
  assert.match(stderr, /2 with a false condition|condition/);
});

test('a method shows what it returned', () => {
  const { events: found, stderr } = events('--method', 'cart.cjs:Cart.add', '--', 'cart.cjs');
  assert.equal(found.length, 3, stderr);
  assert.equal(captures(found[2]).return.locals['@return'].value, '3');
  assert.ok(found[2].debugger.snapshot.duration >= 0);
});

test('a duration in a message has no part smaller than a nanosecond', () => {
  const { events: found, stderr } = events('--method', 'cart.cjs:Cart.add', '--log', '{@duration}', '--', 'cart.cjs');
  assert.equal(found.length, 3, stderr);
  for (const { message } of found) assert.match(message, /^\d+(\.\d{1,6})?(e-\d+)?$/);
});

test('a method that throws shows what it threw, and the program ends as it would', () => {
  const { events: found, status, stderr } = events('--method', 'throws.cjs:pay', '--log', '{amount}', '--capture', '--', 'throws.cjs');
  assert.equal(status, 1);
  assert.match(stderr, /RangeError: too much: 30/);
  assert.deepEqual(found.map((event) => event.message), ['3', '30'], stderr);
  assert.equal(captures(found[1]).return.throwable.message, 'too much: 30');
});

test('modules of ES, and arrow functions', () => {
  const { events: found, stderr } = events(
    '--at', 'total.mjs:4', '--log', '{sum} + {price}', '--method', 'shop.mjs:order', '--log', 'is {@return}', '--', 'shop.mjs',
  );
  assert.deepEqual(found.map((event) => event.message), ['0 + 1', '1 + 2', '3 + 3', 'is 6'], stderr);
});

test('modules of ES come to scripts, by whatever way they are imported', () => {
  const [eval_, detected] = [['node', '-e', 'import("./total.mjs").then(({ total }) => total([1, 2]))', 'imports.cjs'], 'detected.js'];
  // Node 20 finds out by itself only in its later versions.
  const detects = process.features.require_module === true || process.versions.node.split('.')[0] > 20;
  for (const words of [['imports.cjs'], ['requires.cjs'], eval_, ...(detects ? [[detected]] : [])]) {
    const { events: found, stderr } = events('--at', 'total.mjs:4', '--log', '{sum}', '--', ...words);
    assert.deepEqual(found.map((event) => event.message), ['0', '1'], `${words}: ${stderr}`);
  }
});

test('a script without modules of ES has no thread for their hooks', () => {
  const words = ['--at', 'more-threads.cjs:4', '--log', '{threads}', '--', 'more-threads.cjs'];
  const { events: found, stderr } = events(...words);
  // Those of Node, and three of ours: the worker, the hands, and one that waits for signals.
  assert.deepEqual(found.map((event) => Number(event.message) <= 3), [true], `${found[0]?.message} ${stderr}`);
});

test('without a receiver there is no this', () => {
  const { events: found, stderr } = events('--at', 'sloppy.cjs:3', '--', 'sloppy.cjs');
  const { arguments: given } = captures(found[0]).lines['3'];
  assert.deepEqual(Object.keys(given), ['amount'], stderr);
  const strict = events('--at', 'throws.cjs:7', '--', 'throws.cjs');
  assert.deepEqual(Object.keys(captures(strict.events[0]).lines['7'].arguments), ['amount'], strict.stderr);
});

test('below npm the program is the one that was meant', () => {
  const { stdout, stderr, status } = run('run', '--at', 'sloppy.cjs:3', '--log', 'twice', '--', 'npm', 'start', '--silent');
  assert.deepEqual([stdout.trim(), status], ['4', 0], stderr);
  assert.match(stderr, /^sloppy\.cjs:3 +1 hit +1 event$/m);
  assert.doesNotMatch(stderr, /process \d+:|never reached/);
});

test('a signal ends the program, and what was caught is shown', async () => {
  const child = spawn(process.execPath, [bin, 'run', '--at', 'waits.cjs:4', '--log', 'at {count}', '--', 'waits.cjs'], { cwd: apps });
  let shown = '';
  child.stderr.on('data', (data) => (shown += data));
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  const [code, signal] = await once(child, 'close');
  assert.deepEqual([code, signal], [null, 'SIGTERM'], shown);
  assert.match(shown, /at 0/);
  assert.match(shown, /waits\.cjs:4 +\d+ hits/);
});

test('processes below the program are counted with it, and what they are read for stays as it is', () => {
  const words = ['run', '--at', 'family.cjs:5', '--log', 'greets {name}', '--rate', 'all'];
  const { status, stdout, stderr } = run(...words, '--', 'family.cjs');
  assert.deepEqual([status, stdout], [0, 'hello Ann\nhello Bob\nhello Cid\nhello Dan\n'], stderr);
  for (const name of ['Ann', 'Bob', 'Cid', 'Dan']) assert.match(stderr, new RegExp(`greets ${name}`));
  assert.match(stderr, /^family\.cjs:5 +4 hits +4 events$/m);
  assert.match(stderr, /^summed over 4 processes$/m);
  assert.doesNotMatch(stderr, /^process \d+:/m);
});

test('a session goes on where the program itself takes a signal', () => {
  const options = { cwd: apps, encoding: 'utf8', timeout: 30_000 };
  const { status, stdout, stderr } = spawnSync(process.execPath, ['listens.cjs'], options);
  assert.deepEqual([status, stdout], [0, 'waiting\n'], stderr);
});

test('a probe that has no place says so', () => {
  const line = run('run', '--at', 'cart.cjs:99', '--', 'cart.cjs');
  assert.match(line.stderr, /no executable code at line 99; the nearest lines with code are/);
  const method = run('run', '--method', 'cart.cjs:Cart.ad', '--', 'cart.cjs');
  assert.match(method.stderr, /no function `Cart\.ad` in .*nearest: Cart\.add/);
});

test('a getter is told from the setter of its name', (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'accessors-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'named.cjs');
  writeFileSync(file, 'class K { get a() { return 1; } set a(v) {} }\nconst fact = function own(n) { return n; };\nnew K().a = new K().a + fact(1);\n');
  const { events: found, stderr } = events('--method', 'named.cjs:K.a', '--method', 'named.cjs:K.get a', '--log', 'got {@return}',
    '--method', 'named.cjs:K.set a', '--log', 'set {v}', '--method', 'named.cjs:fact', '--log', 'fact {n}', '--', file);
  assert.deepEqual(found.map(({ message }) => message).sort(), ['fact 1', 'got 1', 'set 2'], stderr);
  assert.match(stderr, /2 functions of .* are called `K\.a`, at lines 1, 1: use a line probe, or name one of them: `K\.get a` or `K\.set a`/);
});

test('probes of a pipe are read once, and those of a command around this one are for the same program', () => {
  const definition = JSON.stringify({ id: 'piped', type: 'LOG_PROBE', where: { sourceFile: 'cart.cjs', lines: ['10'] }, template: 'from a pipe' });
  const command = `'${process.execPath}' '${bin}' run --probes <(printf '%s' '${definition}') --at cart.cjs:10 --log 'typed outside' -- ` +
    `'${process.execPath}' '${bin}' run --at cart.cjs:10 --log 'typed inside' -- cart.cjs`;
  const { status, stderr } = spawnSync('bash', ['-c', command], { cwd: apps, encoding: 'utf8', timeout: 30_000 });
  assert.equal(status, 3, stderr);
  for (const text of ['from a pipe', 'typed outside', 'typed inside']) assert.match(stderr, new RegExp(text));
  assert.match(stderr, /^cart\.cjs:10#2 .*3 hits +3 events$/m);
});

test('what cannot be run says what to type', () => {
  for (const [words, code, text] of [
    [[], 2, ''],
    [['run'], 2, 'nothing to watch: give --at FILE:LINE'],
    [['run', '--at', 'cart.cjs:1'], 2, 'no command: write it after --'],
    [['run', '--at', 'cart.cjs:1', '--', 'no-such-program'], 127, 'no-such-program: no such program'],
    [['run', '--at', 'cart.cjs:1', '--', 'no-such.js'], 127, 'no-such.js: no such file'],
    [['watch'], 2, 'watch is no command of stroboscope'],
  ]) {
    const { status, stderr } = run(...words);
    assert.equal(status, code, words.join(' '));
    assert.ok(stderr.includes(text), stderr);
  }
});

test('the process becomes the program', () => {
  const { stdout, status } = run('run', '--at', 'cart.cjs:10', '--', process.execPath, path.join(apps, 'cart.cjs'));
  assert.deepEqual([stdout, status], ['3 items\n', 3]);
});

/** Runs a line of bash in which `strobe` is the command. */
function bash(command, variables = {}) {
  const words = command.replaceAll('strobe ', `'${process.execPath}' '${bin}' `);
  return spawnSync('bash', ['-c', words], { cwd: apps, encoding: 'latin1', timeout: 30_000, env: { ...process.env, ...variables } });
}

test('arguments and variables that are no UTF-8 come to the program as they are', () => {
  // The name of a program, too, and a folder of PATH.
  const made = String.raw`set -e; work=$(mktemp -d); trap 'rm -r "$work"' EXIT; mkdir "$work"/$'b\xffn'
    printf '#!/bin/sh\nprintf "%%s|" "$0" "$@" "$RAW"\n' >"$work"/$'b\xffn'/$'pr\xf6g'; chmod +x "$work"/*/*
    export RAW=$'\xe9\xff' PATH="$work"/$'b\xffn':"$PATH"; `;
  const said = bash(made + String.raw`cd "$work"; strobe run --at 'größe.js:1' -- $'pr\xf6g' $'a\xff' 'größe' $'\xed\xa0\x80' ''`);
  const groesse = Buffer.from('größe').toString('latin1');
  assert.match(said.stdout, /^\/.*\/b\xffn\/pr\xf6g\|/, said.stderr);
  assert.equal(said.stdout.slice(said.stdout.indexOf('|') + 1), `a\xff|${groesse}|\xed\xa0\x80||\xe9\xff|`, said.stderr);
  const missing = bash(String.raw`strobe run --at a.js:1 -- $'no\xff.js'`);
  assert.deepEqual([missing.status, missing.stderr.endsWith(': no such file\n')], [127, true], missing.stderr);
});

test('a process that has another name runs what was typed all the same', () => {
  const { status, stdout, stderr } = bash(`'${process.execPath}' --title=shop '${bin}' run --at cart.cjs:10 --log x -- cart.cjs`);
  assert.deepEqual([status, stdout], [3, '3 items\n'], stderr);
});

test('a program has the name that was typed, as in a shell', () => {
  const { stdout, stderr } = bash(`strobe run --at a.js:1 -- bash -c 'echo $0'`);
  assert.equal(stdout, 'bash\n', stderr);
});

test('more than a program can be told is refused, with what to do', () => {
  const long = ['--at', 'cart.cjs:10', '--log', 'x'.repeat(60_000)];
  const fits = run('run', ...long, ...long, '--', 'cart.cjs');
  assert.equal(fits.status, 3, fits.stderr.slice(0, 200));
  const refused = run('run', ...long, ...long, ...long, '--', 'cart.cjs');
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /^stroboscope: what is typed or read from a pipe is too long for the system by \d+ KiB; write the probes to a file, and name it with --probes\n$/);
});
