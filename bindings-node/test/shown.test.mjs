// Stacks that programs make themselves are those that they make without us: on each line, with source maps and without, guarded
// only and with a probe in each function.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import * as util from 'node:util';
import { apps, bin, node, register } from './processes.mjs';

const cwd = path.join(apps, 'shown');
const { getCallSites } = util;
/** Frames of Node's own are left out: on Node 20 the thread of hooks changes when they are there. */
const own = (text) => text.split('\n').filter((line) => !line.includes('(node:') && !line.includes('at node:')).join('\n');

/** What a program prints, and what it says as it ends badly. */
function printed(words, ends = 0) {
  const { status, stdout, stderr } = node(words, { cwd, variables: { STROBE_ENABLED: 'true' } });
  assert.equal(status, ends, stderr);
  return { stdout: own(stdout), stderr: own(stderr) };
}

function probed(places, words) {
  const probes = places.flatMap((place) => [/\d$/.test(place) ? '--at' : '--method', place, '--log', 'x']);
  const run = printed([bin, 'run', '--json', '/dev/null', '--rate', 'all', ...probes, '--', process.execPath, ...words]);
  assert.equal([...run.stderr.matchAll(/ hits? /g)].length, places.length, run.stderr);
  assert.doesNotMatch(run.stderr, / 0 hits/);
  return run.stdout;
}

const names = ['fail', 'twice', 'all', 'later', 'latest', 'items', 'Cart.make', 'Cart.total', 'Cart.constructor'];

for (const file of ['own.cjs', 'own.mjs']) {
  test(`stacks of ${file} are the program's own`, () => {
    const bare = printed([file]).stdout;
    assert.match(bare, /at new Cart \(.*own\.[cm]js:4:51\)/);
    assert.equal(printed(['--require', register, file]).stdout, bare);
  });

  test(`stacks of ${file} are so while each of its functions has a probe`, () => {
    const bare = printed([file]).stdout;
    assert.equal(probed(names.map((name) => `${file}:${name}`), [file]), bare);
    for (const name of names) assert.equal(probed([`${file}:${name}`], [file]), bare, name);
  });
}

test('a stack of a module of one line is the program\'s own while its functions have probes', () => {
  const bare = printed(['line.mjs']).stdout;
  assert.match(bare, /at f \(.*line\.mjs:1:\d+\)\n +at g/);
  assert.equal(probed(['line.mjs:f', 'line.mjs:g', 'line.mjs:C.constructor'], ['line.mjs']), bare);
});

test('so is that of functions that were made while the one around them had a probe', () => {
  const bare = printed(['made.cjs']).stdout;
  assert.match(bare, /at fail .*\n +at twice .*\n +at handler .*\n +at show /);
  const names = ['make', 'fail', 'twice', 'handler', 'items', 'inner', 'show'];
  assert.equal(probed(['made.cjs:3', ...names.map((name) => `made.cjs:${name}`)], ['made.cjs']), bare);
  for (const name of names.slice(1)) assert.equal(probed(['made.cjs:3', `made.cjs:${name}`], ['made.cjs']), bare, name);
});

test('the program finds in Error.prepareStackTrace what it has put there', () => {
  const bare = printed(['puts.cjs']).stdout;
  assert.match(bare, /^mine: true\nput back: true\nnothing: .*puts\.cjs:\d+:\d+\)$/m);
  assert.equal(printed(['--require', register, 'puts.cjs']).stdout, bare);
});

test('what the program deletes or defines anew is taken up as soon as a module is loaded', () => {
  const bare = printed(['anew.cjs']).stdout;
  assert.match(bare, /^true false\nError: x\| .*anew\.cjs:2:\d+\) undefined\nmine\|.*anew\.cjs:2:\d+\) true\nasked\n/);
  assert.equal(printed(['--require', register, 'anew.cjs']).stdout, bare);
  assert.equal(probed(['anew.cjs:where', 'anew.cjs:load'], ['anew.cjs']), bare);
});

test('frames that the program asks the engine for are its own', { skip: !getCallSites && 'this Node has no util.getCallSites' }, () => {
  const bare = printed(['sites.mjs']).stdout;
  assert.match(bare, /^\{"functionName":"inner",.*"lineNumber":4,.*\}\n/);
  assert.equal(printed(['--require', register, 'sites.mjs']).stdout, bare);
  assert.equal(probed(['inner', 'outer', 'Cart.sites', 'later'].map((name) => `sites.mjs:${name}`), ['sites.mjs']), bare);
});

test('so they are in what a file was compiled of', { skip: !getCallSites && 'this Node has no util.getCallSites' }, () => {
  const body = "const { getCallSites } = require('node:util'); const before = Array.prototype.map; let isAsked = false;"
    + ' Array.prototype.map = function (...words) { if (!isAsked && this[0]?.name === \'bad\') { isAsked = true; console.log(getCallSites(9, { sourceMap: true }).map(({ scriptId, column, ...frame }) => JSON.stringify([frame.functionName, frame.scriptName, frame.lineNumber, column, frame.columnNumber])).join("\\n")) } return before.apply(this, words) };'
    + " require('./tsc/till.js');";
  const words = ['--enable-source-maps', '-e', body];
  const bare = printed(words).stdout;
  assert.match(bare, /"get total","file:.*src\/till\.ts",10,43,43/);
  assert.equal(printed(['--require', register, ...words]).stdout, bare);
});

test('frames are of the methods that they are of without us', () => {
  const bare = printed(['methods.cjs']).stdout;
  assert.match(bare, /_compile$/m);
  assert.equal(printed(['--require', register, 'methods.cjs']).stdout, bare);
});

test('who calls a function is who does without us, but for a caller with a probe: there it is the text with that', () => {
  const bare = printed(['caller.cjs']).stdout;
  assert.equal(bare, 'true asks true function\n');
  assert.equal(printed(['--require', register, 'caller.cjs']).stdout, bare);
  assert.equal(probed(['caller.cjs:who', 'caller.cjs:isCalled'], ['caller.cjs']), bare);
  assert.equal(probed(['caller.cjs:asks', 'caller.cjs:calls'], ['caller.cjs']), 'false asks false function\n');
});

const compiled = ['tsc/till.js', 'min.cjs'];

test('with source maps stacks lead to the same originals', () => {
  for (const file of compiled) {
    const words = ['--stack-trace-limit=50', '--enable-source-maps', file];
    const bare = printed(words).stdout;
    assert.match(bare, /at new .* \(.*src\/till\.ts:7:29\)/);
    assert.equal(printed(['--require', register, ...words]).stdout, bare, file);
    assert.equal(probed(['src/till.ts:9', 'src/till.ts:14', 'src/till.ts:18'], words), bare, file);
    const late = ['--stack-trace-limit=50', '-e', `process.setSourceMapsEnabled(true); require('./${file}')`];
    assert.equal(printed(['--require', register, ...late]).stdout, printed(late).stdout, file);
  }
});

test('whoever formats stacks is given the places of the program', () => {
  for (const file of compiled) {
    const words = ['--stack-trace-limit=50', '--enable-source-maps', '--require', './formats.cjs', file];
    const bare = printed(words).stdout;
    assert.match(bare, /^ {2}file:.*src\/till\.ts:\d+:\d+$/m);
    assert.equal(printed(['--require', register, ...words]).stdout, bare, file);
    // Without source maps the sites themselves are shown.
    const plain = words.filter((word) => word !== '--enable-source-maps');
    assert.equal(printed(['--require', register, ...plain]).stdout, printed(plain).stdout, file);
  }
});

/** Where Node is asked for the line of something that is no error it ends with one more that is empty, in some releases. */
const withoutEmpty = (text) => text.replace(/\n+/g, '\n');

for (const [way, caret] of Object.entries({
  now: /dies\.cjs:2\nconst price = .*\n {35}\^\n/, later: /dies\.cjs:2\nconst price = .*\n {35}\^\n/, made: /dies\.cjs:3\nconst made = .*\n {56}\t\^\n/,
  text: /dies\.cjs:3\nconst made = /, rejected: /dies\.cjs:3\nconst made = .*\n {13}\^\n/, ends: /\n\nTypeError: first\n/, frozen: /frozen/,
})) {
  test(`an exception that nobody catches is shown as without us: ${way}`, () => {
    const words = ['dies.cjs', way];
    const bare = node(words, { cwd });
    assert.match(bare.stderr, caret);
    const guarded = printed(['--require', register, ...words], bare.status);
    const text = way === 'text' ? withoutEmpty : (whole) => whole;
    assert.equal(text(guarded.stderr), text(own(bare.stderr)));
    assert.equal(guarded.stdout, own(bare.stdout));
  });
}

test('an exception that nobody catches is shown as without us in modules of ES', () => {
  for (const way of ['now', 'later']) {
    const bare = printed(['dies.mjs', way], 1).stderr;
    assert.match(bare, /^file:\/\/.*dies\.mjs:2\nconst price = .*\n {35}\^\n/m);
    assert.equal(printed(['--require', register, 'dies.mjs', way], 1).stderr, bare);
  }
});

test('with source maps an exception that nobody catches is shown where its original is', () => {
  for (const file of compiled) {
    const words = ['--enable-source-maps', '-e', `require('./${file}'); setImmediate(() => { new (require('./${file}').Till)('') })`];
    const bare = printed(words, 1).stderr;
    assert.match(bare, /src\/till\.ts:7\n.*\n +\^\n/);
    assert.equal(printed(['--require', register, ...words], 1).stderr, bare);
  }
});

test('an exception that nobody catches is shown without a word of ours where functions have probes, and in scripts', () => {
  for (const words of [['dies.cjs', 'now'], ['dies.cjs', 'vm']]) {
    const { stderr } = node([bin, 'run', '--method', 'dies.cjs:pay', '--method', 'dies.cjs:price', '--log', 'x', '--', ...words], { cwd });
    assert.match(stderr, /^(?:TypeError: .*\n +at price \(.*dies\.cjs:2:36\)|Error: in a script)$/m);
    assert.doesNotMatch(stderr, /\$s_|\$strobe/);
  }
});

test('an exception that is caught leaves the program as it is', () => {
  const words = ['-e', "process.on('uncaughtException', () => {}); process.on('exit', () => console.log(process.sourceMapsEnabled)); require('./dies.cjs')"];
  assert.equal(printed(['--require', register, ...words]).stdout, 'false\n');
});
