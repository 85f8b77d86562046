// The preload: `node --import stroboscope/register app.js`, `--require`, or what the command puts into NODE_OPTIONS. In
// each thread it installs the hooks; in the main one it starts the session.
'use strict';

const { realpathSync } = require('node:fs');
const path = require('node:path');
const { isMainThread, parentPort } = require('node:worker_threads');

/** They only start others, and those are meant. */
const managers = ['npm-cli.js', 'npx-cli.js', 'yarn.js', 'yarn.cjs', 'pnpm.cjs', 'corepack.js', 'stroboscope.mjs'];

function isManager(script) {
  try {
    return managers.includes(path.basename(realpathSync(script)));
  } catch {
    return false; // there is no script, or it is not there: Node says so
  }
}

function begin(own) {
  const { start, settle } = own('begin.cjs');
  const addon = own('addon.cjs');
  const told = process.env.STROBE_RUN;
  if (!told) {
    start({}, 'preload');
    return;
  }
  // Processes below this one are not the one that was asked for: they report only what they caught.
  const first = process.env.STROBE_RUN_FIRST !== undefined;
  delete process.env.STROBE_RUN_FIRST;
  const run = JSON.parse(told);
  start(run.settings, 'command', first, false, run);
  // Processes below this one add what they count to what it counts.
  process.env.STROBE_RUN = JSON.stringify({ ...run, tally: addon.tally() ?? undefined });
  for (const definition of run.probes) {
    try {
      addon.addProbe(definition);
    } catch (error) {
      // It spoils itself only.
      process.stderr.write(`stroboscope: a probe is not used: ${error.message}\n`);
    }
  }
  settle(null);
}

function preload() {
  delete require.cache[__filename];
  const own = require('./own.cjs');
  // It may be asked for by two options.
  if (!own.isFirst(__filename)) return;
  // Node's own threads, such as that of hooks, have no port to a parent; nothing of the program runs in them.
  if (!isMainThread && parentPort !== null) own('load.cjs').install(true);
  if (isMainThread && !isManager(process.argv[1])) begin(own);
}

function inWords(error) {
  try {
    return require('./words.cjs').inWords(error);
  } catch {
    return `this Node may not read ${__dirname}: see --allow-fs-read`;
  }
}

try {
  preload();
} catch (error) {
  // The program goes on without us.
  process.stderr.write(`stroboscope: no probes in this process: ${inWords(error)}\n`);
}
