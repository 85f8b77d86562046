// What we take of the program's memory, and a program whose heap is nearly full.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer, index, node, register } from './processes.mjs';

/** What an expression comes to in a program that has started and does nothing. */
function afterwards(expression, preload = ['--require', register], more = {}) {
  const variables = { STROBE_ENABLED: 'true', STROBE_TERMINAL: 'never', EXPRESSION: expression, ...more };
  const { stdout, stderr, status } = node(['--expose-gc', ...preload, 'afterwards.cjs'], { variables });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];

test('a program without a probe has few megabytes of us', () => {
  const size = (preload) => middle([1, 2, 3].map(() => afterwards('process.memoryUsage().rss / 1e6', preload)));
  const [bare, ours] = [size([]), size()];
  assert.ok(ours - bare < 9, `${bare} MB bare, ${ours} MB with the preload`);
});

/** The size of our code, and how much of it is in memory, in kilobytes. */
function code(maps) {
  const [, size, there] = /r-xp .*stroboscope\.node\nSize: +(\d+) kB\n(?:.*\n)*?Rss: +(\d+) kB/.exec(maps);
  return { size: Number(size), there: Number(there) };
}

test('code that only the start has needed is given back', { skip: process.platform !== 'linux' }, () => {
  const { size, there } = code(afterwards(`readFileSync('/proc/self/smaps', 'utf8')`));
  assert.ok(there < size / 4, `${there} of ${size} kB`);
});

test('code that hits have needed is given back when they are over', { skip: process.platform !== 'linux' }, () => {
  const found = answer(`
    const { readFileSync } = require('node:fs');
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, captureSnapshot: true });
    const { work } = require(process.cwd() + '/work.cjs');
    await new Promise((resolve) => setTimeout(resolve, 600));
    for (let n = 0; n < 1000; n += 1) work(n);
    await strobe.flush();
    const busy = readFileSync('/proc/self/smaps', 'utf8');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return [busy, readFileSync('/proc/self/smaps', 'utf8')];`, { rateLimits: 'off', cpuBudget: 100 });
  const [busy, calm] = found.map(code);
  assert.ok(calm.there < busy.there, `${busy.there} kB, then ${calm.there} kB`);
});

test('hits leave nothing behind that only a whole collection takes away', () => {
  const grown = answer(
    `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, captureSnapshot: true });
    const { work } = require(process.cwd() + '/work.cjs');
    const used = () => {
      gc({ type: 'minor' });
      gc({ type: 'minor' });
      return process.memoryUsage().heapUsed;
    };
    const hit = () => { for (let n = 0; n < 1000; n += 1) work(n); };
    // Until the engine has made code of all that runs.
    for (let round = 0; round < 10; round += 1) {
      hit();
      await strobe.flush();
    }
    gc();
    const before = used();
    hit();
    return used() - before;`,
    { rateLimits: 'off', cpuBudget: 100 },
    {},
    ['--expose-gc'],
  );
  assert.ok(grown < 200_000, `${grown} bytes of 1000 hits`);
});

/** The names of our modules that are there. */
const modules = `Reflect.ownKeys(process[Symbol.for('stroboscope')]).flatMap((folder) => Reflect.ownKeys(process[Symbol.for('stroboscope')][folder]))`;

test('the code for hits is read as soon as there is a probe', () => {
  const read = afterwards(modules);
  assert.ok(read.includes('realm.cjs') && !read.includes('writer.cjs'), read);
  const probed = answer(`
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'x' });
    return ${modules};`);
  assert.ok(probed.includes('writer.cjs'), probed);
});

test('a probe that another thread brings is read for between the turns of the program', () => {
  const [state, most] = answer(`
    const { Worker } = require('node:worker_threads');
    const { work } = require(process.cwd() + '/work.cjs');
    const text = JSON.stringify({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'x' });
    const has = () => ${modules}.filter((name) => /^(?:values|helpers|stack|writer|hit)\.cjs$/.test(name)).length;
    let [before, most] = [has(), 0];
    const thread = new Worker(\`require(${JSON.stringify(index)}).addProbe(\${JSON.stringify(text)})\`, { eval: true });
    while (strobe.status()[0]?.state !== 'installed') {
      await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, has() - before);
      before = has();
    }
    work(1);
    await thread.terminate();
    return [strobe.status()[0].hits, most];`);
  assert.deepEqual([state, most], [1, 1]);
});

test('while the heap is nearly full hits are dropped, and counted; with room there are events again', () => {
  const [before, short, after] = answer(
    `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'x' });
    const { work } = require(process.cwd() + '/work.cjs');
    const now = () => strobe.status()[0];
    for (let n = 0; n < 40; n += 1) work(n);
    const before = now();
    const kept = [];
    // 236 of 256 MiB, 160 KB each.
    while (kept.length < 1_550) kept.push(new Array(20_000).fill(kept.length));
    gc();
    for (let n = 0; n < 100; n += 1) work(n);
    const short = now();
    kept.length = 0;
    gc();
    for (let n = 0; n < 40; n += 1) work(n);
    return [before, short, now()];`,
    { rateLimits: 'off', cpuBudget: 100 },
    {},
    ['--max-old-space-size=256', '--expose-gc'],
  );
  assert.deepEqual([before.emitted, before.dropped], [40, {}]);
  // It is looked at now and then.
  assert.ok(short.dropped.noMemory >= 36, JSON.stringify(short));
  assert.equal(short.emitted + short.dropped.noMemory, 140);
  assert.equal(after.emitted, 180 - after.dropped.noMemory);
  assert.ok(after.dropped.noMemory - short.dropped.noMemory <= 1, 'the one that looked');
});
