// The hooks through which every module of the program comes before it runs. Newer Nodes have one for all sorts of modules,
// in the thread that runs them; on older ones CommonJS modules come through `Module.prototype._compile`, and ES modules
// through a thread of hooks (`hooks.mjs`). Node loads modules whatever a program has replaced, and so do the hooks.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { fileURLToPath, pathToFileURL } = require('node:url');
const { isMainThread } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { isCounted } = require('./counted.cjs');
const { endsWith, startsWith, uncurried } = require('./primordials.cjs');
const contexts = require('./contexts.cjs');
const realm = require('./realm.cjs');
const shown = require('./shown.cjs');
const sites = require('./sites.cjs');
const text = require('./text.cjs');
const threads = require('./threads.cjs');
const { unseen } = require('./unseen.cjs');
const { inWords } = require('./words.cjs');

const { apply } = Reflect;
const emitWarning = process.emitWarning.bind(process);
const decode = uncurried(TextDecoder.prototype.decode);
const matched = uncurried(RegExp.prototype.exec);
const decoder = new TextDecoder();
const own = __dirname;

/** How each format of Node's is read, in the order of what is tried; TypeScript is stripped of its types before. */
const kinds = {
  __proto__: null,
  commonjs: ['commonjs', 'module'],
  'commonjs-typescript': ['commonjs'],
  module: ['module'],
  'module-typescript': ['module'],
  typescript: ['commonjs', 'module'],
};

/** The text of a module with guards; null: it runs as it is. What fails in here is no business of the program. */
function guard(path, text, wanted) {
  if (startsWith(path, own)) return null;
  shown.forget();
  try {
    for (let at = 0; at < wanted.length; at += 1) {
      const code = realm.guard(path, text, wanted[at]);
      if (code !== null) return code ?? null;
    }
  } catch (error) {
    emitWarning(`${path} has no guards, and takes no probes: ${realm.message(error)}`, 'StroboscopeWarning');
  }
  return null;
}

/** Without its types; one that cannot be stripped is as it is, and Node says what is wrong with it. */
function stripTypeScriptTypes(text) {
  // Node would say in the program's name that this is experimental.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return Module.stripTypeScriptTypes(text);
  } catch {
    return text;
  } finally {
    process.emitWarning = emitWarning;
  }
}

function withHooks() {
  Module.registerHooks({
    load(url, context, nextLoad) {
      const result = nextLoad(url, context);
      const wanted = kinds[result.format ?? 'commonjs'];
      if (wanted === undefined || result.source == null || !startsWith(url, 'file:')) return result;
      const text = typeof result.source === 'string' ? result.source : decode(decoder, result.source);
      // Lines and columns stay. Node strips what we return once more, and finds no types.
      const isTyped = typeof result.format === 'string' && endsWith(result.format, 'typescript');
      const source = guard(fileURLToPath(url), isTyped ? stripTypeScriptTypes(text) : text, wanted);
      return source === null ? result : { ...result, source };
    },
  });
}

function withoutHooks() {
  const { prototype } = Module;
  const compile = prototype._compile;
  prototype._compile = function _compile(content, filename) {
    if (!registered && !startsWith(filename, own) && matched(mayImport, content) !== null) registerThread();
    const guarded = guard(filename, content, kinds.commonjs);
    // Other hooks of the kind may hand more on.
    if (guarded !== null) arguments[0] = guarded;
    return apply(compile, this, arguments);
  };
  shown.replaces('Module._compile', '_compile');
  if (!beginsWithCommonJs()) registerThread();
}

/** What a script imports a module of ES by, and by what Node finds that a text is itself one. */
const mayImport = /\bimport\s*(?:\(|\/[*/])|(?:^|[\n;}])\s*(?:import|export)\b/;
/** Options by which modules of ES may come in another way, or there is no main script. */
const others = /(?:^|\s)-(?:[epi]|-(?:eval|print|interactive|import|loader|experimental))/;

/** True if the program begins with a script: then there are modules of ES only if a script imports one. */
function beginsWithCommonJs() {
  const main = process.argv[1];
  const options = process.execArgv.concat(process.env.NODE_OPTIONS ?? '');
  if (main === undefined || !isMainThread || options.some((words) => others.test(words))) return false;
  try {
    const file = Module.createRequire(`${process.cwd()}/`).resolve(main);
    return file.endsWith('.cjs') || (!file.endsWith('.mjs') && !isModulePackage(file));
  } catch {
    return false; // Node says what is wrong with it
  }
}

function isModulePackage(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const description = path.join(folder, 'package.json');
    if (existsSync(description)) return JSON.parse(readFileSync(description, 'utf8')).type === 'module';
    if (folder === path.dirname(folder)) return false;
  }
}

let registered = false;

/** The thread of hooks through which modules of ES come. It takes as much memory as a program: it begins when one may come. */
function registerThread() {
  if (registered) return;
  registered = true;
  // What a module of ES calls as it begins, by a name that nothing else has.
  const enter = `${realm.prefix}enter`;
  Object.defineProperty(globalThis, enter, {
    value(cell) {
      shown.forget();
      realm.makeCell(cell);
      realm.pump();
      realm.settle();
    },
  });
  const data = { realm: realm.threadId, prefix: realm.prefix, enter, own: pathToFileURL(own).href };
  try {
    unseen(() => Module.register('./hooks.mjs', { parentURL: pathToFileURL(__filename), data }));
  } catch (error) {
    emitWarning(`modules of ES take no probes in this process: ${inWords(error)}`, 'StroboscopeWarning');
  }
}

let installed = false;

/** Installs the hooks in this thread, once. Before the program has begun, what it imports by name is ours as well. */
function install(isEarly) {
  if (installed) return;
  installed = true;
  text.install(realm.prefix);
  shown.install();
  sites.install();
  // What ends a thread is told to the one that has started it.
  if (isMainThread) require('./fatal.cjs').install();
  if (isCounted) addon.spareModules();
  threads.install();
  if (Module.registerHooks) withHooks();
  else withoutHooks();
  contexts.install({
    load: realm.guardText,
    leave: (file, why) => addon.leave(file, why),
    enter: realm.enter,
    forget: realm.forgetText,
    failed: (error) => emitWarning(`what the program compiles has no guards: ${realm.message(error)}`, 'StroboscopeWarning'),
  });
  if (isEarly) Module.syncBuiltinESMExports();
}

module.exports = { install };
