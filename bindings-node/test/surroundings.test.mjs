// Programs that change the engine under us, and Nodes that allow less: the probe works, or it is said what does not.
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { answer, apps, bin, events, node, register } from './processes.mjs';

/** The messages of a command's probe in cart.cjs. */
const cart = (options, words = ['--log', '{item.name}']) =>
  node([...options, bin, 'run', '--json', '-', '--at', 'cart.cjs:10', ...words, '--', 'cart.cjs']);
const messages = ({ stdout }) => events(stdout).map((event) => event.message);

test('a program that replaces, deletes and pollutes what there is has its snapshot, and nobody calls what it put there', () => {
  const bare = node(['hostile.cjs']);
  assert.deepEqual([bare.stdout, bare.status], ['[3]\n', 0], bare.stderr);
  const { stdout, stderr, status } = node([bin, 'run', '--json', '-', '--at', 'late.cjs:5', '--', 'hostile.cjs']);
  assert.equal(status, 0, stderr);
  assert.ok(stdout.split('\n').includes('[3]'), stdout + stderr);
  const [{ debugger: { snapshot } }] = events(stdout);
  const { arguments: given, locals } = snapshot.captures.lines['5'];
  assert.equal(given.given.size, 3);
  assert.equal(given.given.entries[0][1].elements[2].fields.three.value, '3');
  assert.equal(locals.n.value, '2');
});

test('a program that has replaced it all before its first probe has that, and nobody calls what it put there', () => {
  const variables = { STROBE_ENABLED: 'true', STROBE_TERMINAL: 'never', STROBE_NDJSON: '-' };
  const { stdout, stderr } = node(['--require', register, 'late-probe.cjs'], { variables });
  assert.ok(stdout.split('\n').includes('[2,[],1]'), stdout + stderr);
  assert.match(stdout, /"message":"n is 1".*"arguments":\{"n":\{"type":"number","value":"1"\}\}/);
});

test('modules of ours are not among those of the program', () => {
  const shown = `console.log(Object.keys(require.cache).length, Object.keys(process).includes('stroboscope'))`;
  for (const option of ['--require', '--import']) {
    const { stdout, stderr } = node([option, register, '-e', shown], { variables: { STROBE_ENABLED: 'true' } });
    assert.deepEqual([stdout, stderr], ['0 false\n', '']);
  }
});

test('Node with frozen intrinsics', () => {
  const found = cart(['--frozen-intrinsics'], ['--rate', 'all']);
  assert.equal(found.status, 3, found.stderr);
  assert.deepEqual(events(found.stdout).map((event) => event.debugger.snapshot.captures.lines['10'].locals.count.value), ['0', '1', '2']);
});

test('Node without code from strings', () => {
  const found = cart(['--disallow-code-generation-from-strings']);
  assert.deepEqual(messages(found), ['tea', 'milk', 'bread'], found.stderr);
});

const permission = Number.parseInt(process.versions.node, 10) < 22 ? '--experimental-permission' : '--permission';

test('the permission model: what is missing is said, and the program runs', () => {
  const closed = [permission, '--allow-fs-read=*'];
  const preloaded = node([...closed, '--require', register, 'cart.cjs']);
  assert.deepEqual([preloaded.stdout, preloaded.status], ['3 items\n', 3]);
  if (permission === '--permission') {
    const refused = 'this process may load no addons: allow it with --allow-addons\n';
    assert.ok(preloaded.stderr.includes(`stroboscope: no probes in this process: ${refused}`), preloaded.stderr);
    const command = cart(closed);
    assert.ok(command.stderr.endsWith(`stroboscope: ${refused}`), command.stderr);
    assert.equal(command.status, 2);
  }
  const open = cart([...closed, '--allow-addons']);
  assert.deepEqual(messages(open), ['tea', 'milk', 'bread'], open.stderr);
  if (permission === '--permission') return;
  assert.match(open.stderr, /modules of ES take no probes in this process: Node's permission model denies WorkerThreads; start Node with --allow-worker/);
});

test('a Node that may not read our files is not begun, and it is said what it needs', () => {
  const command = (...options) => {
    const words = ['run', '--json', '-', '--at', 'cart.cjs:10', '--log', '{item.name}'];
    return node([bin, ...words, '--', process.execPath, permission, ...options, 'cart.cjs']);
  };
  const closed = command(`--allow-fs-read=${apps}/*`);
  assert.deepEqual([closed.status, closed.stdout], [2, '']);
  const [, needed] = closed.stderr.match(/denies FileSystemRead of \/.*; start Node with (--allow-fs-read=\/.*\/\*)\n$/);
  const open = command(`--allow-fs-read=${apps}/*`, needed, '--allow-addons');
  assert.deepEqual(messages(open), ['tea', 'milk', 'bread'], open.stderr);
});

test('a program whose folders above may not be read has no name, and its probes', (context) => {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'denied-')));
  context.after(() => rmSync(folder, { recursive: true }));
  copyFileSync(path.join(apps, 'cart.cjs'), path.join(folder, 'cart.cjs'));
  const options = [permission, `--allow-fs-read=${folder}/*`, `--allow-fs-read=${path.dirname(path.dirname(bin))}/*`, '--allow-addons'];
  const words = ['run', '--json', '-', '--at', 'cart.cjs:10', '--log', '{item.name}', '--', process.execPath, ...options, 'cart.cjs'];
  const found = node([bin, ...words], { cwd: folder });
  assert.deepEqual(messages(found), ['tea', 'milk', 'bread'], found.stderr);
});

test('what a program puts on the prototype of all objects is nothing that the addon has told', () => {
  const names = ['code', 'cell', 'variant', 'rethrow', 'names', 'hits', 'file', 'slot'];
  const use = "console.log(require('./late.cjs').late(1), require('./late.cjs').late(2))";
  const run = (body) => node([bin, 'run', '--json', '-', '--at', 'late.cjs:5', '--log', '{n}', '--', process.execPath, '-e', `${body}; ${use}`]);
  const plain = run(`for (const name of ${JSON.stringify(names)}) Object.prototype[name] = 'q'`);
  assert.deepEqual([messages(plain).length, plain.status], [2, 0], plain.stderr);
  const bare = node(['-e', use]).stdout;
  assert.ok(plain.stdout.includes(bare), plain.stdout);
  for (const name of names) {
    const got = run(`Object.defineProperty(Object.prototype, '${name}', { get: () => 'module.exports = { late: () => "injected" }' })`);
    const fixed = run(`Object.prototype.${name} = 'q'; Object.freeze(Object.prototype)`);
    for (const { stdout, stderr, status } of [got, fixed]) assert.deepEqual([stdout.includes(bare), status], [true, 0], `${name}: ${stdout} ${stderr}`);
  }
});

test('what a program puts under an index of all objects or lists is no variant of a function', (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'indexes-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'two.cjs');
  for (const polluted of ['Object.prototype[1] = "one"', 'Array.prototype[2] = () => "hijacked"', 'Object.defineProperty(Object.prototype, 1, { get: () => () => "got", set() {} })']) {
    for (const early of [true, false]) {
      const functions = ['a', 'b', 'c'].map((name, at) => `function ${name}(n) {\n  return n + ${at};\n}\n`).join('');
      writeFileSync(file, `${early ? polluted : ''};\n${functions}${early ? '' : polluted};\nconsole.log(a(1), b(1), c(1));\n`);
      const { stdout, stderr, status } = node([bin, 'run', '--json', '-', '--at', `${file}:3`, '--log', '{n}', '--', process.execPath, file]);
      assert.deepEqual([stdout.includes('1 2 3'), status], [true, 0], polluted + stdout + stderr);
      assert.equal(messages({ stdout }).length, 1, stderr);
    }
  }
});

test('a setter that the program puts on all objects is not called by what is kept of its classes', () => {
  const { stdout, stderr } = node([bin, 'run', '--capture', '--at', 'setters.cjs:9', '--', 'setters.cjs']);
  assert.ok(stdout.endsWith('[]\n'), stdout + stderr);
  assert.match(stderr, /box = Box\(a=1\)/);
});

test('an option that forbids addons is named', () => {
  const { stdout, stderr } = node(['--no-addons', '--require', register, 'cart.cjs']);
  assert.equal(stdout, '3 items\n');
  assert.equal(stderr, 'stroboscope: no probes in this process: this process may load no addons: start Node without --no-addons\n');
});

test('a function that is called with the globals of another context has its probe, and so has its copy there', () => {
  const [answers, status] = answer(`
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'x' });
    const vm = require('vm');
    const filename = process.cwd() + '/work.cjs';
    const outer = require(filename);
    const context = vm.createContext({ module: {} });
    vm.runInContext(require('fs').readFileSync(filename, 'utf8'), context, { filename });
    context.work = outer.work;
    const answers = [context.module.exports.work(1), vm.runInContext('work(2)', context)];
    return [answers, strobe.status()[0]];`);
  assert.deepEqual(answers, [2, 3]);
  assert.equal(status.hits, 2);
});
