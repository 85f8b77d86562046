// The hooks of ES modules on a Node that runs them in a thread of their own. The module's own thread makes the cell and takes
// its orders as the module begins, before any of its functions is called from outside. Hooks of the program run in this thread
// too, and may have replaced what the engine offers: what is called here was taken before.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { newest } from './newest.mjs';

const require = createRequire(import.meta.url);
const addon = require('./addon.cjs');
const { startsWith, uncurried } = require('./primordials.cjs');
const { inWords } = require('./words.cjs');
const decode = uncurried(TextDecoder.prototype.decode);
const emitWarning = process.emitWarning.bind(process);
const decoder = new TextDecoder();

let told;
let number;

export function initialize(data) {
  told = data;
  number = newest.number += 1;
}

export async function load(url, context, nextLoad) {
  const result = await nextLoad(url, context);
  // Hooks of the program stand above these now, and ours above them.
  if (number !== newest.number) return result;
  if (result.format === 'commonjs' && result.source != null && startsWith(url, 'file:')) leave(url);
  if (result.format !== 'module' || !startsWith(url, 'file:') || startsWith(url, told.own)) return result;
  try {
    const text = typeof result.source === 'string' ? result.source : decode(decoder, result.source);
    // The call that makes the cell stands in the first line that is code.
    const guarded = addon.load(told.realm, fileURLToPath(url), text, 'module', told.prefix, told.enter);
    if (guarded === null) return result;
    if (guarded.code !== undefined) return { ...result, source: guarded.code };
    await settled();
    return result;
  } catch (error) {
    // It is no business of the program.
    emitWarning(`${url} has no guards, and takes no probes: ${inWords(error)}`, 'StroboscopeWarning');
    return result;
  }
}

/** What a loader gives of CommonJS goes past all that we could put guards into. */
function leave(url) {
  try {
    addon.leave(fileURLToPath(url), 'a loader gives its text in a thread of its own');
  } catch {
    // It is no business of the program.
  }
}

/** How long a module waits at most until what is to be watched for in it is. */
const SET_MILLISECONDS = 2000;

/** Of a module without guards no line tells that it begins. */
async function settled() {
  for (let left = SET_MILLISECONDS; addon.watchIsBusy() && left > 0; left -= 1) await new Promise((done) => setTimeout(done, 1));
}
