// Places: what is told of where something is, in the files as people wrote them. Programs are run by the command.
import './processes.mjs';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

test('each call is there once, of functions too that were made while the one around them had a probe', () => {
  const folder = fileURLToPath(new URL('apps/shown/', import.meta.url));
  const logs = ['make', 'twice', 'handler', 'show'].flatMap((name) => ['--method', `made.cjs:${name}`, '--log', 'x']);
  const { events, stderr } = run(['--at', 'made.cjs:4', '--capture', ...logs, '--', 'made.cjs'], { cwd: folder });
  const first = events.find((event) => event.debugger.snapshot.captures) ?? assert.fail(stderr);
  assert.deepEqual(frames(first, folder), [
    'fail made.cjs:4:5', 'twice made.cjs:3:96', 'handler made.cjs:7:12', 'show made.cjs:11:28', ' made.cjs:12:1',
  ]);
});

test('a call that ends by an exception is where that came from', () => {
  const places = {
    inLoop: '10:21', inTest: '18:12', concise: '23:3', look: '31:7', each: '39:3', later: '45:3',
  };
  const names = Object.keys(places);
  const words = names.flatMap((name) => ['--method', `raises.cjs:${name === 'look' ? 'Till.look' : name}`, '--capture']);
  const { events, stderr } = run([...words, '--', 'raises.cjs']);
  assert.deepEqual(events.map((event) => frames(event)[0]), names.map((name) => `${name} raises.cjs:${places[name]}`), stderr);
  // As the setting says, of a log too.
  const log = ['--method', 'raises.cjs:inLoop', '--log', '{@exception}', '--', 'raises.cjs'];
  const whole = run(log, { env: { ...process.env, STROBE_LOG_STACK: 'all' } });
  assert.deepEqual(whole.events.map((event) => frames(event)[0]), ['inLoop raises.cjs:10:21'], whole.stderr);
  const place = run(log);
  assert.deepEqual(place.events.map((event) => frames(event)[0]), ['inLoop raises.cjs:7:undefined'], place.stderr);
});

test('a promise of a probed function that waits for nothing settles in the turn in which it always does', () => {
  const bare = execFileSync(process.execPath, [path.join(apps, 'turns.cjs')], { encoding: 'utf8' });
  const names = ['plain', 'concise', 'promised', 'fails', 'nested', 'method'];
  const methods = names.flatMap((name) => ['--method', `turns.cjs:${name}`, '--log', '{@return} {@exception}']);
  const lines = ['4', '6', '11'].flatMap((line) => ['--at', `turns.cjs:${line}`, '--log', '{x}']);
  const { stdout, stderr, events } = run([...methods, ...lines, '--', 'turns.cjs']);
  assert.equal(stdout.split('\n').find((line) => line.startsWith('turns')), bare.trim(), stderr);
  assert.equal(events.length, 9, stderr);
});

test('an exception that nobody catches is shown where it was thrown, without a word of ours but one', () => {
  const { status, stderr } = run(['--method', 'stacks.cjs:watched', '--log', '{@exception}', '--', 'stacks.cjs']);
  assert.equal(status, 1);
  assert.match(stderr, /^RangeError: too much: 12\n +at fail \(.*stacks\.cjs:7:9\)$/m);
  assert.doesNotMatch(stderr, /\$s_|\$s\.|\$strobe/);
});

test('an exception that goes on out of a probed function is shown without a line of ours', () => {
  const { status, stderr } = run(['--method', 'throws.cjs:pay', '--log', '{amount}', '--', '../throws.cjs'], { cwd: apps });
  assert.equal(status, 1);
  assert.match(stderr, /^RangeError: .*\n +at pay \(.*throws\.cjs:5:11\)/m);
  assert.doesNotMatch(stderr, /\$s_|\$strobe|=> \{ throw error/);
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

test('lines of fields of classes have probes, and only those whose value runs no code need a debugger', () => {
  const logs = { 5: 'made {this.name} {shop}', 7: 'price of {shop}', 8: 'label {this.price}', 10: 'show {this.label}', 12: 'constant of {this.price}' };
  const words = Object.entries(logs).flatMap(([line, log]) => ['--at', `fields.cjs:${line}`, '--log', log]);
  const { events, stdout, stderr } = run([...words, '--', 'fields.cjs']);
  const seen = ['made Item corner', 'price of corner', 'label 2.5', 'constant of 2.5', 'show corner: 2.5'];
  assert.deepEqual(events.map(({ message }) => message), seen, stderr);
  assert.match(stdout, /^corner,Item corner: 2\.5$/m);
  const frame = events[2].debugger.snapshot.stack[0];
  assert.deepEqual([frame.function, frame.lineNumber], ['<instance_members_initializer>', 8]);
  const told = spawnSync(process.execPath, [bin, 'run', ...words, '--', 'fields.cjs'], { cwd: apps, encoding: 'utf8' }).stderr;
  const watched = told.split('\n').filter((text) => text.includes('tier B')).map((text) => text.match(/fields\.cjs:(\d+)/)[1]);
  assert.deepEqual(watched, ['12'], told);
  assert.match(told, /since it is a field whose value runs no code/);
});

test('expressions read private fields where the probe is in code of their class', () => {
  const { events, stderr } = run([
    '--at', 'private.cjs:14', '--when', 'this.#code == 7 && isDefined(this.#lid.open)', '--log', '{this.#code} {this.#lid.open} {this["#code"]}',
    '--method', 'private.cjs:Box.look', '--log', '{this.#code}', '--at', 'private.cjs:26', '--log', '{isDefined(this.#code)}',
    '--', 'private.cjs',
  ]);
  const messages = events.map((event) => event.message);
  // As in the language, a key is no private name.
  assert.ok(messages.includes("7 false {'Box' has no member of the computed name}") && messages.includes('7'), stderr + messages);
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

const maps = path.join(apps, 'maps/');

/** What probes on original files see of a compiled program: message, place, and where the stack is. */
function seen(program, probes) {
  const words = probes.flatMap(([flag, at, log]) => [flag, at, '--log', log, '--capture']);
  const { events, stderr } = run([...words, '--', program], { cwd: maps });
  return {
    stderr,
    events: events.map(({ message, debugger: { snapshot } }) => {
      const { file, type, lines, method } = snapshot.probe.location;
      return `${message} @ ${path.relative(maps, file ?? type)}:${lines ?? method} < ${frames({ debugger: { snapshot } }, maps).join(' < ')}`;
    }),
  };
}

test('probes on TypeScript are placed in what was compiled of it, and told in its lines', () => {
  for (const [program, format] of [['tsc/shop.js', 'tsc'], ['inline/shop.cjs', 'bundle']]) {
    const probes = [['--at', 'src/cart.ts:14', 'price {price}'], ['--at', 'src/shop.ts:10', 'adds {item.name}'], ['--method', 'src/cart.ts:Cart.total', 'total {@return}']];
    const { events, stderr } = seen(program, probes);
    assert.equal(events.length, 5, `${format}: ${stderr}`);
    assert.match(events[0], /^adds tea @ src\/shop\.ts:10 < order src\/shop\.ts:10:5 < .*src\/shop\.ts:15:13$/, stderr);
    assert.match(events[1], /^price 2 @ src\/cart\.ts:14 < add src\/cart\.ts:14:5 < order src\/shop\.ts:10:10 < /, stderr);
    assert.match(events[4], /^total 3 @ src\/cart\.ts:Cart\.total < total src\/cart\.ts:20:\d+ < order src\/shop\.ts:12:15 < /, stderr);
    assert.match(stderr, /src\/cart\.ts:14 +2 hits +2 events/);
  }
});

test('the place of a log in a method is where that begins in the original', () => {
  const words = ['--method', 'src/cart.ts:Cart.total', '--log', 'total {@return}', '--', 'tsc/shop.js'];
  const { events, stderr } = run(words, { cwd: maps });
  assert.deepEqual(events.map((event) => frames(event, maps)), [['total src/cart.ts:17:undefined']], stderr);
});

test('minified code has its lines', () => {
  const { events, stderr } = seen('esbuild/shop.cjs', [['--at', 'src/cart.ts:13', 'sale'], ['--at', 'src/shop.ts:10', 'x']]);
  assert.equal(events.length, 4, stderr);
  assert.match(events[1], /@ src\/cart\.ts:13 < add src\/cart\.ts:13:\d+ < \w+ src\/shop\.ts:10:10 < /, stderr);
});

test('bundles of rollup and webpack lead to what they are made of', () => {
  for (const program of ['rollup/till.cjs', 'webpack/till.cjs']) {
    const { events, stderr } = seen(program, [['--at', 'src/till.js:5', 'ring'], ['--at', 'src/tax.js:4', 'tax']]);
    assert.match(events[0], /^ring @ src\/till\.js:[57] < \w+ src\/till\.js:[57]:\d+ < /, `${program}: ${stderr}`);
    assert.match(events[1], /^tax @ src\/tax\.js:4 < \w+ src\/tax\.js:4:\d+ < \w+ src\/till\.js:7:\d+ < /, `${program}: ${stderr}`);
  }
});

test('a probe on the compiled file works as well, in its own lines', () => {
  const { events, stderr } = seen('rollup/till.cjs', [['--at', 'rollup/till.cjs:6', 'gross']]);
  assert.match(events[0] ?? '', /^gross @ rollup\/till\.cjs:6 < /, stderr);
});

test('what a map does not know, and a map that is broken, are said', () => {
  const outside = run(['--at', 'src/shop.ts:15', '--log', 'x', '--at', 'src/shop.ts:99', '--', 'tsc/shop.js'], { cwd: maps });
  assert.match(outside.stderr, /shop\.ts:15 +1 hit +1 event/);
  assert.match(outside.stderr, /no executable code at line 99/);
  const wrong = run(['--at', 'src/broken.ts:1', '--log', 'x', '--', 'broken.cjs'], { cwd: maps });
  assert.match(wrong.stderr, /broken\.cjs: its source map .*no-such\.map cannot be read: .*; what is in it is shown as it was compiled/);
  assert.equal(wrong.status, 0, wrong.stderr);
});

test('a bundle that evaluates its modules as text is told of, with what to do', (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'evaluates-'));
  context.after(() => rmSync(folder, { recursive: true }));
  for (const name of ['webpack:///./src/cart.js?', 'webpack-internal:///./src/cart.js']) {
    const module = `(() => {\n  return 1;\n})()\n//# sourceURL=${name}`;
    writeFileSync(path.join(folder, 'bundle.cjs'), `const modules = { cart() { eval(${JSON.stringify(module)}); } };\nmodules.cart();\n`);
    const { status, stderr } = run(['--at', 'src/cart.js:2', '--log', 'x', '--', 'bundle.cjs'], { cwd: folder });
    assert.equal(status, 0, stderr);
    assert.match(stderr, /src\/cart\.js is in .*bundle\.cjs, which evaluates its modules as text.*devtool: 'source-map'/s);
  }
});

test('a map that is a pipe is not waited for', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-maps-'));
  try {
    writeFileSync(path.join(folder, 'piped.cjs'), 'console.log(2);\n//# sourceMappingURL=piped.cjs.map\n');
    execFileSync('mkfifo', [path.join(folder, 'piped.cjs.map')]);
    const { status, stdout, stderr } = run(['--at', 'other.ts:1', '--log', 'x', '--', 'piped.cjs'], { cwd: folder });
    assert.deepEqual([status, stdout], [0, '2\n'], stderr);
    assert.match(stderr, /piped\.cjs\.map cannot be read: it is no regular file/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('no frame of a file that was compiled in the place of its original is shown in a line of the compiled one', () => {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'strobe-in-place-')));
  try {
    // Only the third line comes from the original, from its thirtieth.
    const map = JSON.stringify({ version: 3, sources: ['one.cjs'], names: [], mappings: ';;AA6BA' });
    const code = ['const call = (f) => f();', '', 'const f = (x) => { const y = x + 1; return y; };', '', 'call(() => f(1));'];
    const comment = `//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}`;
    writeFileSync(path.join(folder, 'one.cjs'), [...code, comment, ''].join('\n'));
    const { events, stderr } = run(['--method', 'one.cjs:f', '--capture', '--', 'one.cjs'], { cwd: folder });
    const places = frames(events[0] ?? assert.fail(stderr), folder).map((frame) => frame.replace(/:\d+$/, ''));
    assert.deepEqual(places, ['f one.cjs:30', ' one.cjs:30', 'call one.cjs:30', ' one.cjs:30']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the program goes on while a large map is read', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-maps-'));
  try {
    const lines = 400_000;
    const code = `exports.f = (a) => {\n  return a + 1;\n};\n${'//\n'.repeat(lines)}//# sourceMappingURL=big.cjs.map\n`;
    const mappings = `AAAA;AACA;AACA;${'AACA,CAAC,CAAC,CAAC,CAAC,CAAC,CAAC;'.repeat(lines)}`;
    const map = { version: 3, sources: ['big.ts'], sourcesContent: ['x'.repeat(20 << 20)], names: [], mappings };
    writeFileSync(path.join(folder, 'big.cjs'), code);
    writeFileSync(path.join(folder, 'big.cjs.map'), JSON.stringify(map));
    writeFileSync(path.join(folder, 'main.cjs'), `
      const strobe = require(${JSON.stringify(fileURLToPath(new URL('../js/index.cjs', import.meta.url)))});
      strobe.start({ terminal: 'never', ndjson: '/dev/null' });
      const { f } = require('./big.cjs');
      strobe.addProbe({ id: 'big', type: 'LOG_PROBE', where: { sourceFile: 'big.ts', lines: ['2'] }, template: '{a}' });
      const first = strobe.status()[0];
      let turns = 0;
      let longest = 0;
      let last = performance.now();
      const turn = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
        turns += 1;
        f(turns);
        const [{ state, reason, hits, file, lines }] = turns % 50 === 0 ? strobe.status() : [{}];
        last = performance.now();
        if (!(hits > 0) && state !== 'error') return setImmediate(turn);
        console.log(JSON.stringify({ first, state, reason, file, lines, turns, longest }));
        process.exit();
      };
      setImmediate(turn);`);
    const { stdout, stderr } = spawnSync(process.execPath, ['main.cjs'], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
    const { first, file, lines: at, turns } = JSON.parse(stdout || '{}');
    assert.equal(first?.state, 'waiting', stderr);
    assert.match(first.reason, /big\.cjs was compiled of; its source map is being read/);
    assert.deepEqual([path.basename(file), at], ['big.ts', [2]], stdout);
    assert.ok(turns > 100, stdout);
    if (process.env.STROBE_TEST_SHOW) console.log(stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what only the engine can read runs as it is, and the probe says so', () => {
  const { status, stdout, stderr } = run(['--at', 'odd.cjs:2', '--log', 'x', '--', 'odd.cjs']);
  assert.deepEqual([stdout, status], ['ReferenceError\n', 0], stderr);
  assert.match(stderr, /odd\.cjs has no guards: it could not be read: .* \(line 5\)/);
});

test('a program that forbids code from strings has probes', () => {
  const words = ['--method', 'private.cjs:Box.make', '--at', 'private.cjs:14', '--', process.execPath, '--disallow-code-generation-from-strings', 'private.cjs'];
  const { events, status, stderr } = run(words);
  assert.deepEqual([events.length, status], [2, 0], stderr);
});
