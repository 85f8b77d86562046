// Stacks that programs make themselves are those that they make without us: on each line, with source maps and without, guarded
// only and with a probe in each function.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { apps, bin, node, register } from './processes.mjs';

const cwd = path.join(apps, 'shown');
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

test('the program finds in Error.prepareStackTrace what it has put there', () => {
  const bare = printed(['puts.cjs']).stdout;
  assert.match(bare, /^mine: true\nput back: true\nnothing: .*puts\.cjs:\d+:\d+\)$/m);
  assert.equal(printed(['--require', register, 'puts.cjs']).stdout, bare);
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

test('an exception that nobody catches is shown without a word of ours', () => {
  for (const words of [['dies.cjs'], ['dies.cjs', 'later']]) {
    const bare = printed(words, 1).stderr;
    const guarded = printed(['--require', register, ...words], 1).stderr;
    assert.match(bare, /^const price = [^]*\^/m);
    assert.doesNotMatch(guarded, /strobe|const price/);
    // All but the source, which would be that of the guard.
    assert.equal(guarded.trim(), bare.slice(bare.indexOf('TypeError')).trim());
    const { stderr } = node([bin, 'run', '--method', 'dies.cjs:pay', '--log', 'x', '--', ...words], { cwd });
    assert.match(stderr, /^TypeError: .*\n +at price \(.*dies\.cjs:2:36\)$/m);
    assert.doesNotMatch(stderr, /\$s_|\$strobe/);
  }
});
