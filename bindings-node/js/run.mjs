// `npx stroboscope run … -- COMMAND`: turns arguments into an environment and becomes COMMAND, so that process id, signals,
// terminal and exit code are its own. In it `register.cjs` starts the session. No rule about probes is decided here: what the
// user typed becomes probe definitions in the core.
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { inWords } = require('./words.cjs');
const register = fileURLToPath(new URL('register.cjs', import.meta.url));

const [badArguments, notExecutable, notFound] = [2, 126, 127];
const scripts = /\.(?:[cm]?js|[cm]?ts)$/;

/** Runs the command line; returns an exit code only if nothing was to be run. */
export function main(words) {
  const at = words.indexOf('--');
  const [own, command] = at < 0 ? [words, []] : [words.slice(0, at), words.slice(at + 1)];
  const fileIsSet = Boolean(process.env.DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE);
  let addon, typed;
  try {
    addon = require('./addon.cjs');
    typed = addon.readCommand(own, fileIsSet, command.length > 0, process.env.STROBE_RUN);
  } catch (error) {
    return fail(inWords(error));
  }
  if (typeof typed.text === 'string') {
    process.stdout.write(typed.text);
    return own.length === 0 ? badArguments : 0;
  }
  const found = program(command);
  if (found.problem) return fail(found.problem, found.code);
  const why = addon.becomeProgram(found.program, found.words, Object.entries(environment(typed.told)));
  return fail(`${found.program}: ${why}`, notExecutable);
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
