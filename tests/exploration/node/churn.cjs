// Beside the preload: while the program runs, probes come and go. Its clock is taken before a test could put a false one in its
// place, and keeps nothing alive.
'use strict';

const { readFileSync } = require('node:fs');
const { isMainThread } = require('node:worker_threads');
const addon = require('../../../bindings-node/js/addon.cjs');

const EVERY_MS = 20;
const AT_ONCE = 5;

function churn(probes) {
  const away = [...probes];
  const there = [];
  // The same in each run: a small generator of our own, which leaves the program's `Math.random` alone.
  let seed = 1;
  const random = (below) => {
    seed = (seed * 48271) % 0x7fffffff;
    return seed % below;
  };
  const move = (from, to, act) => {
    for (let count = 0; count < AT_ONCE && from.length > 0; count += 1) {
      const [probe] = from.splice(random(from.length), 1);
      act(probe);
      to.push(probe);
    }
  };
  const put = (probe) => addon.addProbe(JSON.stringify(probe));
  const remove = (probe) => addon.removeProbe(probe.id);
  setInterval(() => {
    move(away, there, put);
    if (there.length > probes.length / 2) move(there, away, remove);
  }, EVERY_MS).unref();
}

if (isMainThread) churn(JSON.parse(readFileSync(process.env.STROBE_EXPLORATION_CHURN, 'utf8')));
