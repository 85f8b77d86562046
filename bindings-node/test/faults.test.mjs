// A panic of ours, wherever it happens: the program goes on, nothing is printed, the probe is stopped and says why.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer, apps } from './processes.mjs';

/** A module that breaks a function of the addon, once it is loaded, before a session takes it. */
const breaks = (name) => `data:text/javascript,import { createRequire } from 'node:module';
  createRequire('${apps}')('../../js/own.cjs')('addon.cjs').${name} = () => { throw new TypeError('broken for a test'); };`;

for (const place of ['hit', 'send', 'render', 'hook', 'load', 'round']) {
  test(`a panic of ours stops the probe and nothing else: ${place}`, () => {
    const hooked = place === 'hook' || place === 'load';
    const [results, more, victim, bystander] = answer(
      `const addon = require(process.cwd() + '/../../js/own.cjs')('addon.cjs');
      const add = (id, sourceFile, lines) => strobe.addProbe({ id, type: 'LOG_PROBE', where: { sourceFile, lines }, template: 'x', captureSnapshot: true });
      const state = (id) => strobe.status().find((one) => one.id === id);
      const nap = () => new Promise((done) => setTimeout(done, 20));
      add('bystander', 'notes.cjs', ['4']);
      const { total } = require(process.cwd() + '/notes.cjs');
      ${place === 'load' ? "add('victim', 'work.cjs', ['4']); addon._testPanic('hook');" : ''}
      const { work } = require(process.cwd() + '/work.cjs');
      ${hooked ? '' : "add('victim', 'work.cjs', ['4']);"}
      ${place === 'load' ? '' : `addon._testPanic('${place}');`}
      ${place === 'hook' ? "add('victim', 'work.cjs', ['4']);" : ''}
      ${place === 'round' ? 'await nap(); await nap();' : ''}
      const five = () => [1, 2, 3, 4, 5].map((n) => work(n));
      const results = five();
      while (${place !== 'round'} && state('victim').state !== 'error') await nap();
      const more = [...five(), total([]), total([1])];
      await strobe.flush(5);
      return [results, more, state('victim'), state('bystander')];`,
      { rateLimits: 'off', cpuBudget: 100 },
    );
    assert.deepEqual(results, [2, 3, 4, 5, 6]);
    assert.deepEqual(more, [2, 3, 4, 5, 6, [0], [1]]);
    assert.deepEqual([bystander.state, bystander.emitted], ['emitting', 2]);
    if (place === 'round') {
      // A round that failed is made up for by the next one.
      assert.deepEqual([victim.state, victim.emitted], ['emitting', 10]);
      return;
    }
    assert.match(victim.reason, /our own code failed/);
    if (hooked) return;
    assert.ok(victim.dropped.internal >= 1, JSON.stringify(victim));
    assert.ok(victim.emitted <= 5, JSON.stringify(victim));
  });
}

for (const [what, name] of [['a record is handed over', 'intakeRecord'], ['room is asked for', 'intakeHasRoom']]) {
  test(`an exception in our own JavaScript is swallowed, and stops the probe: as ${what}`, () => {
    const [results, victim, bystander] = answer(
      `const add = (id, sourceFile, lines, more) => strobe.addProbe({ id, type: 'LOG_PROBE', where: { sourceFile, lines }, template: 'x', captureSnapshot: true, ...more });
      add('victim', 'work.cjs', ['4']);
      // It is never asked for what is broken.
      add('bystander', 'notes.cjs', ['4'], { when: { dsl: 'false' } });
      const { work } = require(process.cwd() + '/work.cjs');
      const { total } = require(process.cwd() + '/notes.cjs');
      const state = (id) => strobe.status().find((one) => one.id === id);
      const results = [];
      while (state('victim').state !== 'error') {
        results.push(work(1));
        await new Promise((done) => setTimeout(done, 5));
      }
      // Its hooks go between two turns.
      for (let turns = 0; turns < 10; turns += 1) await new Promise((done) => setTimeout(done, 5));
      const { hits } = state('victim');
      results.push(work(1), work(1));
      total([1]);
      return [[...new Set(results)], { ...state('victim'), more: state('victim').hits - hits }, state('bystander')];`,
      { rateLimits: 'off', cpuBudget: 100 },
      {},
      ['--import', breaks(name)],
    );
    assert.deepEqual(results, [2]);
    assert.match(victim.reason, /our own code failed in a hit/);
    assert.deepEqual([victim.more, victim.emitted], [0, 0], JSON.stringify(victim));
    assert.deepEqual([bystander.state, bystander.hits, bystander.rejected], ['installed', 1, 1], JSON.stringify(bystander));
  });
}
