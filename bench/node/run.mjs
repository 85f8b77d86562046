// The driver: what a probe costs its host, ours beside the peer, and the figures kept as JSON for `../report.py`. One process per
// side lives; blocks of them are interleaved and the ratio is taken round by round, so that it survives a machine whose speed
// changes.
//
//   node bench/node/run.mjs [--quick] [--only PART,…] [--rounds N] [--sides peer,ours] [--node FILE] [--out FILE]
//
// A PART is `hits`, `watched`, `idle`, `beside`, `attach`, `memory`, `rewrite`, or the name of one row of `hits`.
import { execFileSync, fork } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Agent } from './agent.mjs';
import * as definitions from './definitions.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const rows = require('./rows.json');
const register = path.join(here, '../../bindings-node/js/register.cjs');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const parts = { hits, watched, idle, beside, attach, memory, rewrite };
/** What a block takes, in nanoseconds; a hit of less than half a nanosecond cannot be told from none. */
const [blockTime, resolution] = [8e6, 0.5];
/** The peer lets 25 snapshots a second through in all. */
const rest = 60;

/** A live process of one side. */
class Worker {
  static #count = 0;
  #process;
  #answer;

  constructor(rig, side, { probes = [], rates = 'lifted', env = {}, sink = '/dev/null' } = {}) {
    this.side = side;
    this.rig = rig;
    this.probes = probes;
    this.service = `bench-${process.pid}-${(Worker.#count += 1)}`;
    const file = path.join(rig.folder, `${this.service}.json`);
    writeFileSync(file, JSON.stringify(probes));
    if (side !== 'none' && probes.length > 0) env = { ...env, DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: file };
    const preload = { none: [], ours: ['--require', register], peer: ['--require', path.join(rig.peer, 'init.js')] }[side];
    const own = {
      none: {},
      ours: {
        STROBE_ENABLED: 'true',
        STROBE_CPU_BUDGET: '100',
        STROBE_RATE_LIMITS: rates === 'lifted' ? 'off' : 'on',
        STROBE_NDJSON: sink,
        STROBE_TERMINAL: 'never',
        STROBE_CACHE: path.join(rig.folder, 'kept'),
      },
      // What is conceded to it: no telemetry, no line at start, no handler of crashes.
      peer: {
        DD_TRACE_AGENT_URL: rig.url,
        DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
        DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS: '0.2',
        DD_INSTRUMENTATION_TELEMETRY_ENABLED: 'false',
        DD_TRACE_STARTUP_LOGS: 'false',
        DD_CRASHTRACKING_ENABLED: 'false',
      },
    }[side];
    this.#process = fork(path.join(here, 'worker.cjs'), [], {
      execPath: rig.node,
      execArgv: ['--expose-gc', ...preload],
      env: { ...process.env, NODE_OPTIONS: '', DD_SERVICE: this.service, BENCH_SIDE: side, BENCH_PEER: rig.peer, ...own, ...env },
      // What the peer says as it starts and ends is not ours to show.
      stdio: ['ignore', 'ignore', side === 'peer' ? 'ignore' : 'inherit', 'ipc'],
    });
    this.#process.on('message', (message) => this.#answer?.(message));
    this.#process.on('exit', (code, signal) => this.#answer?.({ error: `the worker of ${side} ended (${code ?? signal})` }));
  }

  async ask(op, given = {}) {
    const answer = await new Promise((resolve) => {
      this.#answer = resolve;
      this.#process.send({ op, ...given });
    });
    this.#answer = null;
    if (answer.error) throw new Error(answer.error);
    return answer.answer;
  }

  /** Waits until its probes are in force. */
  async installed() {
    const missing = async () => {
      if (this.side === 'none') return [];
      const states = this.side === 'ours' ? await this.ask('status') : [];
      const there = this.side === 'ours'
        ? new Set(states.filter(({ state }) => ['installed', 'emitting'].includes(state)).map(({ id }) => id))
        : this.rig.agent.installed(this.service);
      return this.probes.filter(({ id }) => !there.has(id));
    };
    for (let tries = 0; (await missing()).length > 0; tries += 1) {
      if (tries > 1500) throw new Error(`${this.side} did not install ${(await missing()).map(({ id }) => id)}: ${JSON.stringify(await this.ask('status'))}`);
      await sleep(20);
    }
    return this;
  }

  /** How many events there have been of a probe. */
  async events(id) {
    if (this.side === 'ours') return (await this.ask('status')).find((probe) => probe.id === id).emitted;
    // They are on their way for as long as the peer puts them together.
    await sleep(700);
    return this.rig.agent.events(this.service, id);
  }

  async end() {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.disconnect();
    const patience = setTimeout(() => this.#process.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(patience);
  }
}

async function started(rig, side, file, how) {
  const worker = new Worker(rig, side, { ...how, env: { BENCH_NEED: file, ...how.env } });
  return worker.installed();
}

/** First quartile, median, third quartile. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part) => {
    const place = (sorted.length - 1) * part;
    const low = Math.floor(place);
    return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
  };
  return [at(0.25), at(0.5), at(0.75)];
}

const over = (a, b, least = 0) => spread(a.map((value, at) => value / Math.max(b[at], least)));
const inTurn = (list, round) => (round % 2 ? list : [...list].reverse());

// ---- a hit ----

async function hits(rig, wanted) {
  const workers = new Map();
  const worker = async (side, rates) => {
    const key = `${side} ${rates}`;
    if (!workers.has(key)) {
      const probes = side === 'ours' ? [...definitions.lines(), ...definitions.methods()] : definitions.lines();
      workers.set(key, await started(rig, side, './targets.cjs', { probes, rates }));
    }
    return workers.get(key);
  };
  const answer = {};
  for (const row of rows.hits.filter(({ name }) => wanted(name))) {
    const sides = new Map();
    for (const side of rig.sides.filter((side) => side === 'ours' || row.peer !== false)) {
      sides.set(side, await worker(side, side === 'ours' ? (row.rates ?? 'lifted') : 'own'));
    }
    answer[row.name] = await hitRow(rig, row, sides);
    tell(row.name, answer[row.name]);
  }
  for (const one of workers.values()) await one.end();
  return answer;
}

async function hitRow(rig, row, sides) {
  const answer = { hot: {}, cold: {}, events: {}, nodes: {} };
  const before = {};
  const made = {};
  for (const [side, worker] of sides) [before[side], made[side]] = [await worker.events(row.name), 0];
  const found = { hot: {}, cold: {} };
  const sizes = {};
  for (const [side, worker] of sides) {
    if (!isHot(row, side)) continue;
    // Until the engine has compiled what it will.
    const isSlow = side === 'peer' || row.limit !== undefined;
    const trial = isSlow ? 20 : row.events === 'all' ? 300 : 200_000;
    const warm = isSlow ? 1 : 8;
    const times = await worker.ask('hot', { name: row.name, calls: trial, blocks: warm });
    made[side] += trial * warm;
    const each = Math.max(times.at(-1).hit + times.at(-1).bare, 1);
    // All events of a block wait together.
    sizes[side] = Math.max(10, Math.min(Math.round(blockTime / each), row.events === 'all' ? 1000 : 2_000_000));
    found.hot[side] = [];
  }
  for (let round = 0; round < rig.rounds; round += 1) {
    for (const side of inTurn(Object.keys(sizes), round)) {
      const [one] = await sides.get(side).ask('hot', { name: row.name, calls: sizes[side], blocks: 1 });
      made[side] += sizes[side];
      found.hot[side].push(one);
    }
  }
  for (let round = 0; row.cold && round < rig.rounds; round += 1) {
    for (const side of inTurn([...sides.keys()], round)) {
      const one = await sides.get(side).ask('cold', { name: row.name, rest });
      made[side] += 1;
      (found.cold[side] ??= []).push(one);
    }
  }
  for (const kind of ['hot', 'cold']) {
    for (const [side, times] of Object.entries(found[kind])) {
      answer[kind][side] = { ns: spread(times.map(({ hit }) => hit)), bare: spread(times.map(({ bare }) => bare)) };
    }
  }
  const judged = row.cold ? 'cold' : 'hot';
  if (sides.size === 2) {
    const [peer, ours] = ['peer', 'ours'].map((side) => found[judged][side].map(({ hit }) => hit));
    answer.ratio = over(peer, ours, resolution);
  }
  for (const [side, worker] of sides) {
    // One that has failed meanwhile costs nothing.
    await worker.installed();
    answer.events[side] = ((await worker.events(row.name)) - before[side]) / made[side];
    if (row.nodes) answer.nodes[side] = await nodes(rig, row.name, side, worker);
  }
  return answer;
}

/** The peer lets few snapshots through: of it only single ones are measured. */
const isHot = (row, side) => (side === 'ours' && !row.limit) || row.events !== 'all' || row.name === 'log';

/** The nodes of an event, and whether anything is missing in it. */
async function nodes(rig, id, side, worker) {
  const text = side === 'peer' ? rig.agent.last(worker.service, id) : await ourEvent(rig, id);
  return { ...counted(JSON.parse(text)), bytes: text.length };
}

function counted(event) {
  const captures = event.debugger.snapshot.captures;
  const found = { nodes: 0, cut: 0 };
  const open = [captures];
  while (open.length > 0) {
    const value = open.pop();
    if (value === null || typeof value !== 'object') continue;
    if (typeof value.type === 'string') found.nodes += 1;
    if (value.notCapturedReason !== undefined || value.truncated) found.cut += 1;
    open.push(...Object.values(value));
  }
  return found;
}

/** One event of ours, from a process of its own that writes them down. */
async function ourEvent(rig, id) {
  const sink = path.join(rig.folder, `${id}.ndjson`);
  const worker = await started(rig, 'ours', './targets.cjs', { probes: definitions.lines(), sink });
  await worker.ask('cold', { name: id, rest: 0 });
  await worker.ask('status');
  await worker.end();
  return readFileSync(sink, 'utf8').trim().split('\n').at(-1);
}

// ---- a hit where only a debugger reaches ----

async function watched(rig) {
  const probes = definitions.watched();
  const workers = new Map();
  for (const side of rig.sides) workers.set(side, await started(rig, side, './targets.cjs', { probes }));
  for (const { id, reason } of workers.has('ours') ? await workers.get('ours').ask('status') : []) {
    if (!/tier B/.test(reason)) throw new Error(`${id} is not watched: ${reason}`);
  }
  const answer = { rows: {}, share: {} };
  for (const row of rows.watched) {
    const found = await hitRow(rig, row, workers);
    // Of the peer's time this is ours.
    if (found.ratio) found.part = found.ratio.map((times) => 1 / times).reverse();
    answer.rows[row.name] = found;
    tell(row.name, found);
  }
  for (const one of workers.values()) await one.end();
  for (const side of rig.sides) {
    // The budget is the one that is so by default.
    const env = { STROBE_CPU_BUDGET: String(rows.share) };
    const one = await started(rig, side, './targets.cjs', { probes: probes.slice(0, 1), rates: 'kept', env });
    // From the first call on: it takes a while until the budget knows.
    answer.share[side] = await one.ask('share', { name: 'watchedFalse', seconds: rig.quick ? 15 : 60 });
    await one.end();
  }
  tell('share of a core', answer.share);
  return answer;
}

// ---- programs without a hit ----

/** Fresh processes several times: where things lie in memory also moves these figures. What is measured is the program as it runs
 *  on, when the engine has compiled it. */
async function inProcesses(rig, sides, warm, make, ask) {
  const times = Object.fromEntries(sides.map((side) => [side, []]));
  for (let turn = 0; turn < (rig.quick ? 2 : 5); turn += 1) {
    const living = new Map();
    for (const side of sides) living.set(side, await make(side));
    for (const side of sides) await ask(living.get(side), warm);
    for (let round = -3; round < rig.rounds; round += 1) {
      for (const side of inTurn(sides, round)) {
        const time = await ask(living.get(side));
        if (!(time > 0)) throw new Error(`${side} took no time`);
        if (round >= 0) times[side].push(time);
      }
    }
    for (const worker of living.values()) await worker.end();
  }
  const answer = { bare: spread(times.none), ratio: {} };
  for (const side of sides.filter((side) => side !== 'none')) answer.ratio[side] = over(times[side], times.none);
  return answer;
}

async function idle(rig) {
  const folder = path.join(rig.folder, 'parsers');
  mkdirSync(folder, { recursive: true });
  for (const [name, file] of [['acorn', 'acorn'], ['@babel/parser', '@babel/parser'], ['marked', 'marked']]) {
    copyFileSync(require.resolve(file), path.join(folder, `${name.replace('/', '_')}.cjs`));
  }
  const answer = {};
  for (const { name } of rows.idle) {
    const given = { n: 3, folder: name === 'everything' ? folder : '' };
    const make = (side) => new Worker(rig, side).installed();
    answer[name] = await inProcesses(rig, ['none', 'ours'], 40, make, (worker, times = 1) => worker.ask('parses', { ...given, n: given.n * times }));
    tell(name, answer[name]);
  }
  return answer;
}

/** One probe in a program that never hits it. */
async function beside(rig) {
  const answer = {};
  const sides = ['none', ...rig.sides];
  const sizes = { awaits: 200_000, requests: 300 };
  for (const { name } of rows.beside) {
    const make = (side) => started(rig, side, './web.cjs', { probes: side === 'none' ? [] : [definitions.atLine('web', 'web.cjs')] });
    answer[name] = await inProcesses(rig, sides, 10, make, (worker, times = 1) => worker.ask(name, { n: sizes[name] * times }));
    tell(name, answer[name]);
  }
  return answer;
}

// ---- a probe comes ----

async function attach(rig) {
  const answer = {};
  for (const heap of rig.quick ? [5] : [5, 80]) {
    const env = { BENCH_HEAP_MB: String(heap) };
    const one = {};
    if (rig.sides.includes('ours')) {
      const worker = await new Worker(rig, 'ours', { env }).installed();
      const found = [];
      for (let round = 0; round < rig.rounds; round += 1) {
        found.push(await worker.ask('attach', { definition: definitions.atLine('attached', 'attached.cjs') }));
      }
      await worker.end();
      const ms = (of) => spread(found.map(of));
      one.ours = ms(({ stall }) => stall / 1e6);
      one.control = ms(({ control }) => control / 1e6);
      one.until = ms(({ milliseconds }) => milliseconds);
    }
    if (rig.sides.includes('peer')) {
      const stalls = [];
      for (let round = 0; round < (rig.quick ? 1 : 3); round += 1) {
        // It has its probes from its file and installs them a while after the start, which is watched.
        const probes = [definitions.atLine('attached', 'attached.cjs')];
        const worker = await started(rig, 'peer', './attached.cjs', { probes, env: { ...env, BENCH_WATCH: '1' } });
        stalls.push((await worker.ask('unwatch')) / 1e6);
        await worker.end();
      }
      one.peer = spread(stalls);
    }
    answer[heap] = one;
    console.log(`attach, heap ${heap} MB`, JSON.stringify(rounded(one)));
  }
  return answer;
}

// ---- memory ----

async function memory(rig) {
  const hits = rig.quick ? 100_000 : 1_000_000;
  const answer = { hits };
  const idle = Object.fromEntries(['none', ...rig.sides].map((side) => [side, []]));
  for (let round = 0; round < (rig.quick ? 3 : 7); round += 1) {
    for (const side of inTurn(Object.keys(idle), round)) {
      const worker = await started(rig, side, './targets.cjs', {});
      idle[side].push((await worker.ask('memory', { hits: 0 })) / 1e6);
      await worker.end();
    }
  }
  answer.idle = Object.fromEntries(Object.entries(idle).map(([side, found]) => [side, spread(found)]));
  answer.after = {};
  for (const side of ['none', 'ours']) {
    const probes = side === 'ours' ? definitions.lines().filter(({ id }) => id === 'small') : [];
    const worker = await started(rig, side, './targets.cjs', { probes });
    const before = await worker.ask('memory', { hits: hits / 5, name: 'small' });
    const after = await worker.ask('memory', { hits: hits - hits / 5, name: 'small' });
    const [probe] = side === 'ours' ? await worker.ask('status') : [];
    answer.after[side] = { mb: after / 1e6, grown: (after - before) / 1e6, events: probe?.emitted ?? 0, dropped: probe?.dropped };
    await worker.end();
  }
  if (rig.sides.includes('peer')) {
    // Hits over its rate; so few, since each takes it a quarter of a millisecond.
    const few = rig.quick ? 2000 : 20_000;
    const probes = definitions.lines().filter(({ id }) => id === 'limited');
    const worker = await started(rig, 'peer', './targets.cjs', { probes });
    const before = await worker.ask('memory', { hits: 1000, name: 'limited' });
    const after = await worker.ask('memory', { hits: few, name: 'limited' });
    answer.after.peer = { mb: after / 1e6, grown: (after - before) / 1e6, hits: few };
    await worker.end();
  }
  console.log('memory', JSON.stringify(rounded(answer)));
  return answer;
}

// ---- a module is loaded ----

async function rewrite(rig) {
  const files = ['acorn', '@babel/parser', 'marked'];
  const found = { first: [], again: [] };
  for (let round = 0; round < (rig.quick ? 3 : 9); round += 1) {
    // Fresh processes, since that is when modules are loaded; the second one finds what the first has kept for it.
    const env = { STROBE_CACHE: path.join(rig.folder, `kept-${round}`) };
    for (const kind of ['first', 'again']) {
      const worker = await new Worker(rig, 'ours', { env }).installed();
      const times = await worker.ask('rewrite', { files });
      const sum = (of) => times.reduce((total, one) => total + one[of], 0);
      found[kind].push(sum('ms') / (sum('bytes') / 1e6));
      await worker.end();
    }
  }
  const answer = { first: spread(found.first), again: spread(found.again) };
  console.log('rewrite, ms per MB', JSON.stringify(rounded(answer)));
  return answer;
}

// ---- the whole ----

function tell(name, answer) {
  console.log(name.padEnd(16), JSON.stringify(rounded(answer)));
}

/** Four digits tell all that was measured. */
function rounded(value) {
  if (typeof value === 'number') return Number(value.toPrecision(4));
  if (Array.isArray(value)) return value.map(rounded);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, rounded(inner)]));
}

function options() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      sides: { type: 'string', default: 'peer,ours' },
      node: { type: 'string', default: process.execPath },
      out: { type: 'string' },
    },
  });
  const known = [...Object.keys(parts), ...rows.hits.map(({ name }) => name)];
  const only = values.only?.split(',') ?? Object.keys(parts);
  const unknown = only.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`no such part or row: ${unknown.join(', ')}; there are ${known.join(', ')}`);
  const rounds = Number(values.rounds ?? (values.quick ? 7 : 25));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a whole number from 1');
  return { ...values, only, rounds, sides: values.sides.split(',') };
}

function fileOfResults({ quick, only, sides, out }, major) {
  if (out) return out;
  // Only a whole run may replace the figures that are kept.
  const whole = !quick && only.length === Object.keys(parts).length && sides.length === 2;
  const folder = path.join(here, whole ? '../results' : 'build');
  mkdirSync(folder, { recursive: true });
  return path.join(folder, `node-${major}.json`);
}

async function main() {
  const given = options();
  const version = execFileSync(given.node, ['--version'], { encoding: 'utf8' }).trim();
  const major = Number(version.slice(1).split('.')[0]);
  const agent = new Agent();
  const rig = {
    ...given,
    agent,
    url: await agent.listen(),
    folder: mkdtempSync(path.join(os.tmpdir(), 'stroboscope-bench-')),
    peer: path.join(here, 'node_modules', major < 22 ? 'peer5' : 'peer6'),
  };
  const begun = Date.now();
  const command = process.argv.slice(2).filter((word, at, all) => !['--node', '--out'].includes(word) && !['--node', '--out'].includes(all[at - 1]));
  const result = {
    command: ['bench/node/run.mjs', ...command].join(' '),
    date: new Date().toISOString().slice(0, 10),
    node: version.slice(1),
    machine: { cpu: os.cpus()[0].model, cores: os.cpus().length, load: os.loadavg()[0] },
    quick: given.quick,
    rounds: given.rounds,
    versions: {
      peer: require(path.join(rig.peer, 'package.json')).version,
      ours: require('../../bindings-node/package.json').version,
    },
  };
  const errors = [];
  try {
    for (const [name, measure] of Object.entries(parts)) {
      const wanted = (row) => given.only.includes(name) || given.only.includes(row);
      if (!wanted(name) && !(name === 'hits' && rows.hits.some((row) => wanted(row.name)))) continue;
      try {
        result[name] = await measure(rig, wanted);
      } catch (error) {
        result[name] = { error: error.message.split('\n')[0] };
        errors.push(`${name}: ${error.stack}`);
      }
    }
  } finally {
    agent.close();
    rmSync(rig.folder, { recursive: true, force: true });
  }
  result.seconds = Math.round((Date.now() - begun) / 1000);
  const out = fileOfResults(given, major);
  writeFileSync(out, `${JSON.stringify(rounded(result), null, 1)}\n`);
  console.log(`${result.seconds} s in all, written to ${path.relative('.', out)}`);
  if (errors.length > 0) {
    console.error(errors.join('\n'));
    process.exitCode = 1;
  }
}

await main();
