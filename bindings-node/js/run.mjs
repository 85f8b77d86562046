// `npx stroboscope run … -- COMMAND`: turns arguments into an environment and becomes COMMAND, so that process id, signals,
// terminal and exit code are its own. In it `register.cjs` starts the session. No rule about probes is decided here: what the
// user typed becomes probe definitions in the core.
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { inWords } = require('./words.cjs');
const register = fileURLToPath(new URL('register.cjs', import.meta.url));

const [badArguments, notExecutable, notFound] = [2, 126, 127];
const scripts = /\.(?:[cm]?js|[cm]?ts)$/;

const help = `usage: npx stroboscope run [--at FILE:LINE | --method FILE:NAME]
                           [--log TEMPLATE] [--when EXPR] [--capture] [--rate N|all]
                           [--probes FILE] [--json PATH|-] -- COMMAND…

Asks a running program a question without stopping it.

  --at FILE:LINE      probe a line, before it runs
  --method FILE:NAME  probe a function, as it returns or throws
  --log TEMPLATE      message, with {expressions} in it
  --when EXPR         fire only when this holds
  --capture           take a snapshot beside the message of --log
  --rate N|all        at most N hits per second, fractions allowed; all lifts the limits of all probes
  --probes FILE       a JSON file of probe definitions (docs/probe-file.md)
  --json PATH|-       write events as JSON, one a line; - is standard output
  --version           say which version this is

COMMAND is a script with its arguments, or any program; Node processes that it starts are included.
A file \`….js\` is run by this Node.

Several --at and --method may be given: --log, --when, --capture and --rate belong to the one before them.
Without --log and --capture a probe takes a snapshot: arguments, locals, stack, and for a function what it returned.
Without --rate a probe with a snapshot shows one hit per second, one that only logs up to 5000.

  npx stroboscope run --at src/cart.js:48 -- src/shop.js --port 8000
  npx stroboscope run --method src/cart.js:Cart.total --log 'total {@return} in {@duration} ms' -- src/shop.js
  npx stroboscope run --at src/cart.js:48 --when 'len(lines) > 20' --log 'long: {cart.id}' -- npm start
`;

/** Runs the command line; returns an exit code only if nothing was to be run. */
export function main(words) {
  const at = words.indexOf('--');
  const [own, command] = at < 0 ? [words, []] : [words.slice(0, at), words.slice(at + 1)];
  if (own.length === 0) return print(help, badArguments);
  if (own[0] === '--version') return print(`stroboscope ${version()}\n`, 0);
  if (own[0] === '--help' || own[0] === '-h' || own.slice(1).some((word) => word === '--help' || word === '-h')) {
    return print(help, 0);
  }
  if (own[0] !== 'run') return fail(`${own[0]} is no command of stroboscope: npx stroboscope run --help says what there is`);
  let addon, told;
  try {
    addon = require('./addon.cjs');
    told = addon.readCommand(own.slice(1), Boolean(process.env.DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE));
  } catch (error) {
    return fail(inWords(error));
  }
  if (command.length === 0) {
    return fail('no command: write it after --, as in: npx stroboscope run --at app.js:12 -- app.js');
  }
  const found = program(command);
  if (found.problem) return fail(found.problem, found.code);
  const why = addon.becomeProgram(found.program, found.words, Object.entries(environment(told)));
  return fail(`${found.program}: ${why}`, notExecutable);
}

function version() {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}

function print(text, code) {
  process.stdout.write(text);
  return code;
}

function fail(message, code = badArguments) {
  process.stderr.write(`stroboscope: ${message}\n`);
  return code;
}

/** The file to execute and its words. What Node would run is run by this Node, with this Node's own options. */
function program([name, ...rest]) {
  if (scripts.test(name)) {
    if (!existsSync(name)) return { problem: `${name}: no such file`, code: notFound };
    return { program: process.execPath, words: [...process.execArgv, name, ...rest] };
  }
  if (name.startsWith('-')) {
    return { problem: `${name} is not a command; after -- comes a script or a program`, code: badArguments };
  }
  const file = which(name);
  if (file) return { program: file, words: rest };
  if (!existsSync(name)) return { problem: `${name}: no such program`, code: notFound };
  const problem = `${name}: not a program that can be run; if it is a script of Node's, write: -- node ${name}`;
  return { problem, code: notExecutable };
}

function which(name) {
  const folders = name.includes('/') ? [''] : (process.env.PATH ?? '').split(path.delimiter);
  return folders.map((folder) => path.join(folder, name)).find(canRun);
}

function canRun(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function environment(told) {
  const before = process.env.NODE_OPTIONS ?? '';
  const preload = `--require ${quoted(register)}`;
  return {
    ...process.env,
    NODE_OPTIONS: before.includes(preload) ? before : `${preload} ${before}`.trimEnd(),
    STROBE_ENABLED: 'true',
    STROBE_RUN: told,
    STROBE_RUN_FIRST: '1',
  };
}

/** A word of NODE_OPTIONS. */
function quoted(text) {
  return /[\s"\\]/.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : text;
}
