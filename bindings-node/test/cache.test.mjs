// What was put into modules is kept in a folder for later processes: by programs that run, and by what is in the folder after it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { bin, cleanEnvironment, events, node } from './processes.mjs';

const filler = Array.from({ length: 40 }, (_, n) => `function f${n}(größe, ...rest) { return (x) => größe + x + rest.length + ${n} }`);

const line = filler.length + 4;

/** A file that is large enough to be kept, in which something is added at `line`. */
const program = (end) => `'use strict';
${filler.join('\n')}
class Cart { #sum = 0
  add(price) {
    this.#sum += f1(price, 1)(2);
    return this.#sum } }
const cart = new Cart(); cart.add(3); console.log(cart.add(4), new Error('here').stack.split('\\n')[1].trim());
${end}
`;

/** A folder with programs in it, and the name of one for the cache that is not there yet. */
function place(context) {
  const home = fs.mkdtempSync(path.join(fs.realpathSync(tmpdir()), 'strobe-cache-'));
  context.after(() => fs.rmSync(home, { recursive: true }));
  fs.writeFileSync(path.join(home, 'cart.cjs'), program('module.exports = f2;'));
  fs.writeFileSync(path.join(home, 'cart.mjs'), program('export default f2;'));
  return { home, cache: path.join(home, 'kept') };
}

const words = (name) => [bin, 'run', '--json', '-', '--rate', 'all', '--at', `${name}:${line}`, '--log', 'adds {price}', '--capture', '--', name];

/** What a run with a probe shows, without what differs from process to process. */
function shown({ stdout, stderr, status }) {
  const found = events(stdout).map(({ message, debugger: { snapshot } }) => ({
    message,
    captures: snapshot.captures,
    stack: snapshot.stack.map(({ function: name, lineNumber, columnNumber }) => [name, lineNumber, columnNumber]),
  }));
  assert.deepEqual(found.map(({ message }) => message), ['adds 3', 'adds 4'], stderr);
  return { status, found, lines: stdout.split('\n').filter((text) => !text.startsWith('{')) };
}

const run = (cwd, variables, name = 'cart.cjs') => node(words(name), { cwd, variables });

/** The files of a folder, with what tells a new one from the one before. */
function files(folder) {
  const names = fs.readdirSync(folder).sort();
  return names.map((name) => ({ name, ino: fs.statSync(path.join(folder, name)).ino, bytes: fs.readFileSync(path.join(folder, name)) }));
}

for (const name of ['cart.cjs', 'cart.mjs']) {
  test(`a second process finds what the first has kept, and shows the same: ${name}`, (context) => {
    const { home, cache } = place(context);
    const first = run(home, { STROBE_CACHE: cache }, name);
    const kept = files(cache);
    assert.equal(kept.length, 1, first.stderr);
    assert.match(kept[0].name, /^[0-9a-f]{32}\.guards$/);
    assert.equal(fs.statSync(cache).mode & 0o777, 0o700);
    const second = run(home, { STROBE_CACHE: cache }, name);
    assert.deepEqual(shown(second), shown(first));
    // One that was not taken would be written anew, by a new file.
    assert.deepEqual(files(cache), kept);
    assert.deepEqual(shown(run(home, { STROBE_CACHE: 'off' }, name)), shown(first));
  });
}

test('what was tampered with, cut or is of another file is not taken, and written anew', (context) => {
  const { home, cache } = place(context);
  const right = shown(run(home, { STROBE_CACHE: cache }));
  const [{ name, bytes }] = files(cache);
  run(home, { STROBE_CACHE: cache }, 'cart.mjs');
  const other = files(cache).find((file) => file.name !== name).bytes;
  const tampered = Buffer.from(bytes.toString('latin1').replace('typeof', 'delete'), 'latin1');
  assert.notDeepEqual(tampered, bytes);
  for (const wrong of [tampered, bytes.subarray(0, -1), Buffer.alloc(0), other]) {
    fs.writeFileSync(path.join(cache, name), wrong);
    assert.deepEqual(shown(run(home, { STROBE_CACHE: cache })), right);
    assert.deepEqual(fs.readFileSync(path.join(cache, name)), bytes);
  }
});

test('a file that was edited has guards of its own', (context) => {
  const { home, cache } = place(context);
  run(home, { STROBE_CACHE: cache });
  fs.writeFileSync(path.join(home, 'cart.cjs'), program('console.log(f3(1)(2))'));
  assert.deepEqual(shown(run(home, { STROBE_CACHE: cache })).lines.slice(1, 2), ['6']);
  assert.equal(files(cache).length, 2);
});

test('by default it is among the caches of the user; off, there is none', (context) => {
  const { home } = place(context);
  const caches = path.join(home, 'caches');
  shown(run(home, { XDG_CACHE_HOME: caches, STROBE_CACHE: 'off' }));
  assert.ok(!fs.existsSync(caches));
  shown(run(home, { XDG_CACHE_HOME: caches, STROBE_CACHE: undefined }));
  assert.equal(files(path.join(caches, 'stroboscope')).length, 1);
  shown(run(home, { HOME: home, XDG_CACHE_HOME: '', STROBE_CACHE: undefined }));
  assert.equal(files(path.join(home, '.cache', 'stroboscope')).length, 1);
});

test('who has no home gets none, and a folder is named by its absolute path', (context) => {
  const { home } = place(context);
  const none = path.join(home, 'nobody');
  const silent = run(home, { HOME: none, XDG_CACHE_HOME: '', STROBE_CACHE: undefined });
  shown(silent);
  assert.doesNotMatch(silent.stderr, /nothing is kept/);
  assert.ok(!fs.existsSync(none));
  const before = fs.readdirSync(home);
  const { stderr } = run(home, { HOME: none, XDG_CACHE_HOME: '', STROBE_CACHE: 'kept' });
  assert.match(stderr, /STROBE_CACHE: 'kept' is not off or an absolute path; the default is used: ~\/\.cache\/stroboscope/);
  assert.deepEqual(fs.readdirSync(home), before);
});

test('a folder that others may use is not used, which is said once', (context) => {
  const { home, cache } = place(context);
  fs.mkdirSync(cache);
  fs.chmodSync(cache, 0o755);
  // A second file, so that it could be said twice.
  fs.appendFileSync(path.join(home, 'cart.cjs'), "require('./other.cjs');");
  fs.writeFileSync(path.join(home, 'other.cjs'), filler.join('\n'));
  const found = run(home, { STROBE_CACHE: cache });
  shown(found);
  assert.equal(found.stderr.split(`nothing is kept in ${cache} for the next start: others may use it (mode 755; 700 is right)`).length, 2, found.stderr);
  assert.deepEqual(files(cache), []);
});

test('a folder or a file of another user is not used', { skip: process.getuid() !== 0 && 'only root can give files away' }, (context) => {
  const { home, cache } = place(context);
  const right = shown(run(home, { STROBE_CACHE: cache }));
  const [kept] = files(cache);
  fs.chownSync(path.join(cache, kept.name), 65534, 65534);
  assert.deepEqual(shown(run(home, { STROBE_CACHE: cache })), right);
  assert.equal(fs.statSync(path.join(cache, kept.name)).uid, 0);
  const again = files(cache);
  fs.chownSync(cache, 65534, 65534);
  const found = run(home, { STROBE_CACHE: cache });
  assert.deepEqual(shown(found), right);
  assert.ok(found.stderr.includes(`nothing is kept in ${cache} for the next start: it belongs to another user (65534; this is 0)`), found.stderr);
  assert.deepEqual(files(cache), again);
  // Nobody asked for this one: in a home of somebody else none is made.
  fs.chownSync(home, 65534, 65534);
  const silent = run(home, { HOME: home, XDG_CACHE_HOME: '', STROBE_CACHE: undefined });
  assert.deepEqual(shown(silent), right);
  assert.doesNotMatch(silent.stderr, /nothing is kept/);
  assert.ok(!fs.existsSync(path.join(home, '.cache')));
});

test('where nothing can be written the program runs as ever; it is said if somebody wants that folder', (context) => {
  const { home } = place(context);
  const below = path.join(home, 'cart.mjs');
  const named = run(home, { STROBE_CACHE: path.join(below, 'kept') });
  const silent = run(home, { HOME: below, XDG_CACHE_HOME: '', STROBE_CACHE: undefined });
  assert.deepEqual(shown(named), shown(silent));
  assert.match(named.stderr, /nothing is kept in \S+ for the next start: it cannot be written there: Not a directory/);
  assert.doesNotMatch(silent.stderr, /nothing is kept/);
});

test('what stands in a folder that cannot be written is read', { skip: process.getuid() === 0 && 'root can write everywhere' }, (context) => {
  const { home, cache } = place(context);
  const right = shown(run(home, { STROBE_CACHE: cache }));
  const kept = files(cache);
  fs.chmodSync(cache, 0o500);
  try {
    assert.deepEqual(shown(run(home, { STROBE_CACHE: cache })), right);
    const found = run(home, { STROBE_CACHE: cache }, 'cart.mjs');
    shown(found);
    assert.match(found.stderr, /it cannot be written there: Permission denied/);
    assert.deepEqual(files(cache), kept);
  } finally {
    fs.chmodSync(cache, 0o700);
  }
});

test('processes that begin at once do not stand in each other\'s way', async (context) => {
  const { home, cache } = place(context);
  const one = async () => {
    const child = spawn(process.execPath, words('cart.cjs'), { cwd: home, env: { ...cleanEnvironment(), STROBE_CACHE: cache } });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (data) => { stdout += data; });
    child.stderr.on('data', (data) => { stderr += data; });
    const [status] = await once(child, 'close');
    return { stdout, stderr, status };
  };
  const found = await Promise.all([one(), one(), one(), one()]);
  const [right, ...others] = found.map(shown);
  for (const other of others) assert.deepEqual(other, right);
  // Nothing is left over of what they wrote at the same time.
  assert.equal(files(cache).length, 1);
  const kept = files(cache);
  shown(run(home, { STROBE_CACHE: cache }));
  assert.deepEqual(files(cache), kept);
});
