// A program whose heap is nearly full: nothing is captured until there is room again.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer } from './processes.mjs';

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
