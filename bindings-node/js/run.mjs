// `npx stroboscope run … -- COMMAND`: turns arguments into an environment and becomes COMMAND, so that process id, signals,
// terminal and exit code are its own. In it `register.cjs` starts the session. No rule about probes is decided here: what the
// user typed becomes probe definitions in the core.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { inWords } = require('./words.cjs');
const register = fileURLToPath(new URL('register.cjs', import.meta.url));
const folder = fileURLToPath(new URL('..', import.meta.url));

const badArguments = 2;

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
  const node = { file: process.execPath, options: process.execArgv, preload: `--require ${quoted(register)}`, folder };
  const { why, code } = addon.becomeProgram(command, typed.told, node);
  return fail(why, code);
}

function fail(message, code = badArguments) {
  process.stderr.write(`stroboscope: ${message}\n`);
  return code;
}

/** A word of NODE_OPTIONS. */
function quoted(text) {
  return /[\s"\\]/.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : text;
}
