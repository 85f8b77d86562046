// Runs the tests of foreign programs bare, with guards in every function, with probes on every function, and while probes come
// and go, and compares what comes of it. See ../README.md. Exit code 1: something ended otherwise than without us.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { build, probesOf } from './probes.mjs';
import { folderOf, install, matching, root, work } from './programs.mjs';
import { differences, linesIn, testsIn } from './results.mjs';
import { suites } from './suites.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const register = path.join(root, 'bindings-node/js/register.cjs');
const MODES = ['guarded', 'probed', 'churn'];
/** Differences of a run that are printed. */
const SHOWN = 12;
/** What nobody puts into the environment of a test by accident. */
const KEPT = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'USER'];

/** The environment of a run. */
function environment(mode, probes, events) {
  const kept = Object.fromEntries(KEPT.filter((name) => name in process.env).map((name) => [name, process.env[name]]));
  if (mode === 'bare') return kept;
  const preload = [register, ...(mode === 'churn' ? [path.join(here, 'churn.cjs')] : [])];
  return {
    ...kept,
    NODE_OPTIONS: preload.map((file) => `--require ${file}`).join(' '),
    DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
    STROBE_TERMINAL: 'never',
    STROBE_NDJSON: events,
    // Not among the caches of who runs this; what one run keeps the next one finds.
    STROBE_CACHE: path.join(work, 'kept'),
    // What probes on all functions cost is not what is asked here.
    STROBE_CPU_BUDGET: '100',
    ...(mode === 'probed' && { DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: probes }),
    ...(mode === 'churn' && { STROBE_EXPLORATION_CHURN: probes }),
  };
}

/** What a command begins with that runs it in a network with loopback only; nothing where that is not allowed. */
function loopbackOnly() {
  const up = 'ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; exec "$@"';
  const command = ['unshare', '-rn', 'sh', '-c', up, 'sh'];
  return spawnSync(command[0], [...command.slice(1), 'true']).status === 0 ? command : [];
}

/** Runs a command to its end, with all that it left behind: what it printed, and how it ended. */
function execute(command, options, limit) {
  return new Promise((done) => {
    const child = spawn(command[0], command.slice(1), { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const parts = [];
    let late = false;
    const end = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    };
    const timer = setTimeout(() => {
      late = true;
      end();
    }, limit * 1000);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => parts.push(data));
    child.on('exit', end);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const ended = late ? `not at its end after ${limit} s` : signal ? `killed by ${signal}` : `exit code ${code}`;
      done({ output: Buffer.concat(parts).toString(), ended });
    });
  });
}

/** Runs the tests of a program in one way. */
async function run({ suite, folder, words, probes, limit, network }, mode, label = mode) {
  const log = path.join(work, `${suite.name}.${label}.log`);
  const events = path.join(work, `${suite.name}.${label}.ndjson`);
  fs.rmSync(events, { force: true });
  const begin = performance.now();
  const command = [...network, process.execPath, ...words];
  const { output, ended } = await execute(command, { cwd: folder, env: environment(mode, probes, events) }, limit);
  fs.writeFileSync(log, output);
  const seconds = (performance.now() - begin) / 1000;
  return { tests: testsIn(output), lines: linesIn(output), ended, seconds, ...(await seen(events)) };
}

/** How many events there were, of how many probes. */
async function seen(file) {
  const fired = new Set();
  let events = 0;
  if (!fs.existsSync(file)) return { events, fired: 0 };
  for await (const line of createInterface({ input: fs.createReadStream(file) })) {
    events += 1;
    const [, probe] = /"probe":\{"id":"([^"]*)"/.exec(line) ?? [];
    if (probe) fired.add(probe);
  }
  fs.rmSync(file);
  return { events, fired: fired.size };
}

/** Runs a program bare and in other ways. */
async function compare(suite, { modes, limit, network, exceptions }) {
  const folder = await folderOf(suite);
  const left = new Set(matching(folder, suite.leftOut ?? []));
  const words = suite.command.flatMap((word) => (word.includes('*') ? matching(folder, [word]).filter((file) => !left.has(file)) : [word]));
  const made = probesOf(matching(folder, suite.probed).map((file) => path.join(folder, file)), suite.every);
  const probes = path.join(work, `${suite.name}.probes.json`);
  fs.writeFileSync(probes, JSON.stringify(made));
  const job = { suite, folder, words, probes, limit, network };
  const bare = await run(job, 'bare');
  const again = once(() => run(job, 'bare', 'bare-again'));
  const found = {};
  for (const mode of modes.filter((mode) => mode !== 'churn' || !suite.sync)) {
    found[mode] = await runBeside(job, mode, bare, again, exceptions);
  }
  const failed = [...bare.tests].filter(([, end]) => end.includes('not ok')).map(([name]) => name);
  const { ended, seconds, tests } = bare;
  return { suite: suite.name, node: process.versions.node, tests: tests.size, failed, ended, seconds, probes: made.length, modes: found };
}

function once(make) {
  let made;
  return () => (made ??= make());
}

/** Runs a program in one way, and again what differs, to tell what is unsteady by itself: what was not so both times, or is not
 *  the same without us. */
async function runBeside(job, mode, bare, bareAgain, exceptions) {
  const other = await run(job, mode);
  const { ended, seconds, events, fired } = other;
  const kinds = { differ: [], listed: [], unsteady: [] };
  const found = differences(bare, other);
  if (found.length > 0) {
    const key = ({ what, name, bare, other }) => JSON.stringify([what, name, bare, other]);
    const without = await bareAgain();
    const steady = new Set(differences(without, await run(job, mode, `${mode}-again`)).map(key));
    const byItself = new Set(differences(bare, without).map(({ what, name }) => `${what} ${name}`));
    for (const one of found) {
      const reason = exceptions.find((entry) => entry.suite === job.suite.name && entry.names.includes(one.name))?.reason;
      const isSteady = steady.has(key(one)) && !byItself.has(`${one.what} ${one.name}`);
      kinds[reason ? 'listed' : isSteady ? 'differ' : 'unsteady'].push({ ...one, reason });
    }
  }
  return { ended, seconds, events, fired, ...kinds };
}

function describe({ suite, tests, failed, probes, seconds, modes }) {
  const lines = [`${suite}: ${tests} tests, ${failed.length} fail bare; ${probes} probes; ${seconds.toFixed(1)} s bare`];
  for (const [mode, { ended, seconds, events, fired, differ, listed, unsteady }] of Object.entries(modes)) {
    lines.push(`  ${mode}: ${differ.length} differ, ${listed.length} listed, ${unsteady.length} unsteady; ${fired} probes fired, ${events} events; ${seconds.toFixed(1)} s, ${ended}`);
    for (const [kind, found] of Object.entries({ differ, unsteady })) {
      for (const one of found.slice(0, SHOWN)) lines.push(`    ${kind}: ${one.what} ${one.name.slice(0, 160)}: ${one.bare} bare, ${one.other} ${mode}`);
      if (found.length > SHOWN) lines.push(`    ${kind}: … ${found.length - SHOWN} more, in report.jsonl`);
    }
  }
  return lines.join('\n');
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { all: { type: 'boolean' }, list: { type: 'boolean' }, limit: { type: 'string', default: '300' }, mode: { type: 'string', multiple: true, default: MODES } },
});
const names = suites.map(({ name }) => name);
const unknown = [...positionals.filter((name) => !names.includes(name)), ...values.mode.filter((mode) => !MODES.includes(mode))];
if (unknown.length > 0 || (positionals.length === 0 && !values.all && !values.list)) {
  console.error(unknown.length > 0 ? `unknown: ${unknown.join(', ')}` : `usage: run.mjs [--mode ${MODES.join('|')}] [--limit SECONDS] --all|--list|NAME…`);
  process.exit(2);
}
if (values.list) {
  console.log(names.join('\n'));
  process.exit(0);
}
install();
build();
const exceptions = JSON.parse(fs.readFileSync(path.join(here, 'exceptions.json'), 'utf8'));
const options = { modes: values.mode, limit: Number(values.limit), network: loopbackOnly(), exceptions };
let bad = 0;
for (const suite of suites.filter(({ name }) => values.all || positionals.includes(name))) {
  const result = await compare(suite, options);
  fs.appendFileSync(path.join(work, 'report.jsonl'), `${JSON.stringify(result)}\n`);
  console.log(describe(result));
  const modes = Object.entries(result.modes);
  // Probes that never fire show nothing.
  const silent = modes.filter(([mode, { fired }]) => mode === 'probed' && fired === 0);
  bad += silent.length + modes.reduce((sum, [, { differ }]) => sum + differ.length, 0);
  for (const [mode] of silent) console.log(`  no probe fired: ${mode}`);
}
process.exitCode = bad > 0 ? 1 : 0;
