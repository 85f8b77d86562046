// A probe over its rate: its hooks go, and come back with the next token.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer } from './processes.mjs';

const settings = { cpuBudget: 100 };
const line = (rate, more = {}) => `strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] },
  template: 'x', sampling: { snapshotsPerSecond: ${rate} }, ...${JSON.stringify(more)} });
  const { work } = require(process.cwd() + '/work.cjs');
  const turn = () => new Promise(setImmediate);
  const now = () => strobe.status()[0];`;

test('hooks of a probe that refuses much go between two turns, and a token brings them back', () => {
  const [before, resting, later, back] = answer(
    `${line(1)}
    for (let n = 0; n < 20_000; n += 1) work(n);
    const before = now();
    await turn();
    await turn();
    for (let n = 0; n < 20_000; n += 1) work(n);
    const resting = now();
    await turn();
    const later = now();
    let back = later;
    while (back.emitted < 3) {
      work(1);
      await turn();
      back = now();
    }
    return [before, resting, later, back];`,
    settings,
  );
  assert.deepEqual([before.hits, before.emitted, before.disarmed], [20_000, 1, true]);
  // A token may have come meanwhile.
  assert.ok(resting.hits === 20_000 || resting.emitted > 1, JSON.stringify(resting));
  assert.equal(later.hits, resting.hits);
  assert.equal(back.emitted, 3);
  assert.equal(back.hitsExact, false);
});

test('code that runs for long without a turn has all its events', () => {
  const found = answer(
    `${line(30)}
    while (now().emitted < 36) for (let n = 0; n < 10_000; n += 1) work(n);
    return now();`,
    settings,
  );
  // The first second's thirty tokens are there at once.
  assert.equal(found.emitted, 36);
});

test('a function keeps its hooks while one of its probes is awake', () => {
  const [slow, fast] = answer(
    `${line(1)}
    strobe.addProbe({ id: 'b', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'y' });
    for (let n = 0; n < 4_000; n += 1) work(n);
    await turn();
    await turn();
    for (let n = 0; n < 100; n += 1) work(n);
    return ['a', 'b'].map((id) => strobe.status().find((one) => one.id === id));`,
    { ...settings, rateLimits: 'on' },
  );
  assert.equal(slow.emitted, 1);
  assert.equal(fast.hits, 4_100);
});

test('a probe that is paused for its cost is off, and comes back', () => {
  const [paused, resting, back] = answer(
    `${line(5000, { when: { dsl: 'n == -1' } })}
    while (now().state !== 'paused') {
      for (let n = 0; n < 50_000; n += 1) work(n);
      await turn();
    }
    await turn();
    const paused = now();
    for (let n = 0; n < 50_000; n += 1) work(n);
    const resting = now();
    while (now().state === 'paused') await new Promise((done) => setTimeout(done, 50));
    await turn();
    const hits = now().hits;
    work(1);
    return [paused, resting, now().hits - hits];`,
    { ...settings, cpuBudget: 0.1 },
  );
  assert.equal(resting.hits, paused.hits);
  assert.match(paused.reason, /^paused for 10 s: it used /);
  assert.equal(back, 1);
});
