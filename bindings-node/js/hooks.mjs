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
  const guarded = addon.load(told.realm, fileURLToPath(url), text, 'module', told.prefix);
  return guarded === null ? result : { ...result, source: begun(guarded) };
}

/** With the call that makes the cell, in the first line that is code. */
function begun({ code, cell }) {
  const at = code.startsWith('#!') ? code.search(/[\n\r\u2028\u2029]|$/) + 1 : 0;
  return `${code.slice(0, at)}typeof ${told.enter}==='function'&&${told.enter}('${cell}');${code.slice(at)}`;
}
