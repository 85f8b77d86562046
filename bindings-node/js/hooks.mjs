// The hooks of ES modules on a Node that runs them in a thread of their own. The module's own thread makes the cell and takes
// its orders as the module begins, before any of its functions is called from outside.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const addon = createRequire(import.meta.url)('./addon.cjs');
const decoder = new TextDecoder();

let told;

export function initialize(data) {
  told = data;
}

export async function load(url, context, nextLoad) {
  const result = await nextLoad(url, context);
  if (result.format !== 'module' || !url.startsWith('file:') || url.startsWith(told.own)) return result;
  const text = typeof result.source === 'string' ? result.source : decoder.decode(result.source);
  if (!text.isWellFormed()) return result;
  try {
    // The call that makes the cell stands in the first line that is code.
    const guarded = addon.load(told.realm, fileURLToPath(url), text, 'module', told.prefix, told.enter);
    return guarded === null ? result : { ...result, source: guarded.code };
  } catch (error) {
    // It is no business of the program.
    process.emitWarning(`${url} has no guards, and takes no probes: ${error.message}`, 'StroboscopeWarning');
    return result;
  }
}
