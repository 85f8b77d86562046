// The hooks through which every module of the program comes before it runs, last of all hooks, so that the text is the one that
// runs. CommonJS modules come through `Module.prototype._compile`; ES modules through hooks in the thread that runs them, or on
// older Nodes through a thread of hooks (`hooks.mjs`). Node loads modules whatever a program has replaced, and so do the hooks.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { fileURLToPath, pathToFileURL } = require('node:url');
const { isMainThread } = require('node:worker_threads');
const addon = require('./addon.cjs');
const { isCounted } = require('./counted.cjs');
const { endsWith, includes, startsWith, uncurried } = require('./primordials.cjs');
const contexts = require('./contexts.cjs');
const realm = require('./realm.cjs');
const shown = require('./shown.cjs');
const sites = require('./sites.cjs');
const text = require('./text.cjs');
const threads = require('./threads.cjs');
const { unseen } = require('./unseen.cjs');
const { inWords } = require('./words.cjs');

const { apply } = Reflect;
const { register: registerLoader } = Module;
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
  // What has guards already came through another of the hooks.
  if (startsWith(path, own) || includes(text, realm.prefix)) return null;
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

/** Without types, where Node strips a text of this format of them. Lines and columns stay; Node strips it once more, and finds none. */
const untyped = (format, text) => (typeof format === 'string' && endsWith(format, 'typescript') ? stripTypeScriptTypes(text) : text);

/** Puts guards into what a hook has loaded. */
function loaded(url, context, nextLoad) {
  const result = nextLoad(url, context);
  const { format } = result;
  const wanted = kinds[format ?? 'commonjs'];
  if (wanted === undefined || result.source == null || !startsWith(url, 'file:') || isCompiled(context, format)) return result;
  const text = typeof result.source === 'string' ? result.source : decode(decoder, result.source);
  const source = guard(fileURLToPath(url), untyped(format, text), wanted);
  return source === null ? result : { ...result, source };
}

/** True if a module comes through `_compile` as well, after whatever else the program has put there. */
function isCompiled({ conditions }, format) {
  for (let at = 0; at < conditions.length; at += 1) if (conditions[at] === 'require') return true;
  return format === 'commonjs' && !addon.hasLoaders();
}

/** Options by which a program has loaders in a thread of their own from its start. */
const loaders = /(?:^|\s)--(?:experimental-)?loader\b/;

function withHooks() {
  const { registerHooks } = Module;
  const register = () => registerHooks({ load: loaded });
  let hooks = register();
  // The hooks that came last are asked first, and change what the others answer.
  replace('registerHooks', (given) => {
    const theirs = apply(registerHooks, Module, given);
    hooks.deregister();
    hooks = register();
    return theirs;
  });
  replace('register', (given) => {
    addon.noteLoaders();
    return apply(registerLoader, Module, given);
  });
  if (loaders.test(process.execArgv.concat(process.env.NODE_OPTIONS ?? '').join(' '))) addon.noteLoaders();
  compileGuarded(() => {});
}

/** Calls of a function of Node's for modules come here. */
function replace(name, called) {
  const handler = { __proto__: null, apply: (_, receiver, given) => called(given) };
  Module[name] = new Proxy(Module[name], handler);
}

/** CommonJS modules get their guards where they are compiled. `before` is told of each file and its text. */
function compileGuarded(before) {
  const { prototype } = Module;
  const compile = prototype._compile;
  prototype._compile = function _compile(content, filename, format) {
    before(filename, content);
    const wanted = kinds[format ?? 'commonjs'];
    if (typeof content === 'string' && typeof filename === 'string' && wanted !== undefined) {
      const guarded = guard(filename, untyped(format, content), wanted);
      // Other hooks of the kind may hand more on.
      if (guarded !== null) arguments[0] = guarded;
    }
    return apply(compile, this, arguments);
  };
  shown.replaces('Module._compile', '_compile');
  shown.replaces('Module.<anonymous>', '_compile');
}

function withoutHooks() {
  // As with hooks in this thread: those that came last are asked first.
  replace('register', (given) => {
    const theirs = apply(registerLoader, Module, given);
    if (registered) registerHooks();
    return theirs;
  });
  compileGuarded((filename, content) => {
    if (!registered && !startsWith(filename, own) && matched(mayImport, content) !== null) registerThread();
  });
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
    if (mayExist(description)) return JSON.parse(readFileSync(description, 'utf8')).type === 'module';
    if (folder === path.dirname(folder)) return false;
  }
}

/** True if there is this file, and Node's permission model does not deny to look: what it denies is none for Node either. */
function mayExist(file) {
  try {
    return existsSync(file);
  } catch {
    return false;
  }
}

let registered = false;
let registrations = 0;

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
  unseen(registerHooks);
}

/** Puts ours above all hooks that there are; those of before do nothing any more. */
function registerHooks() {
  const enter = `${realm.prefix}enter`;
  const data = { realm: realm.threadId, prefix: realm.prefix, enter, own: pathToFileURL(own).href };
  try {
    registrations += 1;
    apply(registerLoader, Module, [`./hooks.mjs?${registrations}`, { parentURL: pathToFileURL(__filename), data }]);
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
