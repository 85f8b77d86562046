// Plays one script of `tests/vectors/statuses.json` in a real session: `node script.cjs INDEX SCRIPT FOLDER`. What happens to a
// probe there is brought about as it would be here: by modules that are loaded, calls, threads, settings and time. Each version of
// a probe means a file of its own; one that is nearer to the root is meant more exactly.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { once } = require('node:events');
const { Worker } = require('node:worker_threads');

const [, , index, file, folder] = process.argv;
const strobe = require(index);
const { script, expect, interval, seconds } = JSON.parse(fs.readFileSync(file, 'utf8'));
const nap = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const GOOD = "'use strict';\nmodule.exports = (n) => {\n  return n + 1;\n};\n";
const SHORT = "'use strict';\nmodule.exports = () => 0;\n";
/** Folders that one file of a name can be nearer to the root than another. */
const DEPTH = 12;

/** By the name of a probe's file: how deep the next one is, the one that was loaded last, and its function. */
const files = {};
const nameOf = (id, version) => `${id}${version}.cjs`;
const of = (name) => (files[name] ??= { depth: DEPTH, path: null, call: () => {} });

/** Loads a file that the probe means more exactly than all before; `beside`: two of which none is nearer than the other. */
function load(name, text, beside = ['x']) {
  const known = of(name);
  const below = Array(known.depth--).fill('d');
  for (const first of beside) {
    known.path = path.join(folder, first, ...below, name);
    fs.mkdirSync(path.dirname(known.path), { recursive: true });
    fs.writeFileSync(known.path, text);
    known.call = require(known.path);
  }
}

const find = (id) => strobe.status().find((one) => one.id === id);
/** Where an error is meant that lies in the definition. */
const isBroken = (id, version) => script.some((step) => step[1] === 'error' && step[2] === id && step[3] === version && step[4] === 'InvalidDefinition');
const expires = (id, version) => script.some((step) => step[1] === 'expired' && step[2] === id && step[3] === version);
/** The kinds of errors that a script speaks of, in their order: the first is a line that is not there, another one two files. */
const kinds = [...new Set(script.filter((step) => step[1] === 'error').map((step) => step[4]))];

const steps = {
  received(id, version) {
    const where = isBroken(id, version) ? null : { sourceFile: nameOf(id, version), lines: ['3'] };
    const when = { dsl: 'n == 1' };
    strobe.addProbe({ id, version, type: 'LOG_PROBE', where, when, template: 'x', ...(expires(id, version) && { expiresAt: Date.now() + 3000 }) });
  },
  waiting() {},
  async installed(id, version) {
    const name = nameOf(id, version);
    if (['installed', 'emitting', 'paused'].includes(find(id)?.state)) {
      // In another thread, too.
      const thread = new Worker(`require(${JSON.stringify(of(name).path)})`, { eval: true });
      await once(thread, 'exit');
    } else {
      load(name, GOOD);
    }
  },
  moved(id, version) {
    load(nameOf(id, version), GOOD);
  },
  emitting(id, version) {
    const name = nameOf(id, version);
    // One that is hit before anybody could say that it is there.
    if (of(name).path === null) load(name, GOOD);
    of(name).call(1);
  },
  error(id, version, kind) {
    const name = nameOf(id, version);
    if (kind === 'InvalidDefinition') return steps.received(id, version);
    if (kind !== 'Panic') return kind === kinds[0] ? load(name, SHORT) : load(name, SHORT, ['x', 'y']);
    require(path.join(path.dirname(index), 'addon.cjs'))._testPanic('hit');
    return of(name).call(1);
  },
  blocked(id, version) {
    const name = nameOf(id, version);
    strobe.addProbe({ id: 'lists', type: 'SERVICE_CONFIGURATION', denyList: { packagePrefixes: [path.parse(name).name] } });
    load(name, GOOD);
  },
  async paused(id, version) {
    const { call } = of(nameOf(id, version));
    // What is not there costs nothing.
    if (of(nameOf(id, version)).path === null) return;
    while (find(id).state !== 'paused') {
      for (let n = 0; n < 50_000; n += 1) call(0);
      await nap(1);
    }
  },
  async resumed(id) {
    while (find(id).state === 'paused') await nap(50);
  },
  removed(id) {
    strobe.removeProbe(id);
  },
  async expired(id) {
    while (find(id) !== undefined && find(id).state !== 'expired') await nap(10);
  },
  async repeat() {
    await nap(seconds * 1000 + 200);
  },
  async tick(at) {
    // A tick that is late is one like others, where nobody can hold the session up.
    const intervals = Math.min(2, at / (interval * 1000));
    await nap(Math.max(0, started + intervals * seconds * 1000 + 200 - Date.now()));
  },
};

/** The states by which a status is seen. What is broken is received and an error at once. */
const STATES = { RECEIVED: ['received', 'waiting', 'error'], INSTALLED: ['installed'], EMITTING: ['emitting'], ERROR: ['error', 'paused'], BLOCKED: ['blocked'] };

/** Waits until a step has led where it should, or for a moment. */
async function settle([at, what, ...more]) {
  const wanted = expect.findLast((status) => status[0] === at && status[1] === more[0]);
  const end = Date.now() + (wanted ? 10_000 : 50);
  while (Date.now() < end) {
    const state = wanted && find(wanted[1])?.state;
    if (wanted && STATES[wanted[3]].includes(state)) return;
    await nap(5);
    // Hooks of a probe that was paused come back between two turns.
    if (wanted && what === 'emitting') steps.emitting(...more);
  }
}

const started = Date.now();

(async () => {
  strobe.start({ terminal: 'never', rateLimits: 'off', diagnosticsInterval: seconds, cpuBudget: kinds.length === 0 && script.some((step) => step[1] === 'paused') ? 0.1 : 100 });
  for (const step of script) {
    const [at, what, ...more] = step;
    await (what === 'tick' ? steps.tick(at) : steps[what](...more));
    await settle(step);
  }
  const board = Object.fromEntries(strobe.status().filter((one) => one.id !== 'lists').map((one) => [one.id, one.state]));
  await strobe.stop(5);
  console.log(JSON.stringify(board));
})();
