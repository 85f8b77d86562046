// The hooks through which every module of the program comes before it runs. Newer Nodes have one for all sorts of modules,
// in the thread that runs them; on older ones CommonJS modules come through `Module.prototype._compile`, and ES modules
// through a thread of hooks (`hooks.mjs`).
'use strict';

const Module = require('node:module');
const { fileURLToPath, pathToFileURL } = require('node:url');
const realm = require('./realm.cjs');
const text = require('./text.cjs');

const { apply } = Reflect;
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

function guard(path, text, wanted) {
  if (path.startsWith(own)) return null;
  for (const kind of wanted) {
    const code = realm.guard(path, text, kind);
    if (code !== null) return code;
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
  const decoder = new TextDecoder();
  Module.registerHooks({
    load(url, context, nextLoad) {
      const result = nextLoad(url, context);
      const wanted = kinds[result.format ?? 'commonjs'];
      if (wanted === undefined || result.source == null || !url.startsWith('file:')) return result;
      const text = typeof result.source === 'string' ? result.source : decoder.decode(result.source);
      // Lines and columns stay. Node strips what we return once more, and finds no types.
      const isTyped = result.format?.endsWith('typescript');
      const source = guard(fileURLToPath(url), isTyped ? stripTypeScriptTypes(text) : text, wanted);
      return source === null ? result : { ...result, source };
    },
  });
}

function withoutHooks() {
  const { prototype } = Module;
  const compile = prototype._compile;
  prototype._compile = function _compile(content, filename, ...rest) {
    const guarded = guard(filename, content, kinds.commonjs);
    return apply(compile, this, [guarded ?? content, filename, ...rest]);
  };
  // What a module of ES calls as it begins, by a name that nothing else has.
  const enter = `${realm.prefix}enter`;
  Object.defineProperty(globalThis, enter, {
    value(cell) {
      realm.makeCell(cell);
      realm.pump();
      realm.settle();
    },
  });
  const data = { realm: realm.threadId, prefix: realm.prefix, enter, own: pathToFileURL(own).href };
  Module.register('./hooks.mjs', { parentURL: pathToFileURL(__filename), data });
}

let installed = false;

/** Installs the hooks in this thread, once. */
function install() {
  if (installed) return;
  installed = true;
  text.install(realm.prefix);
  if (Module.registerHooks) withHooks();
  else withoutHooks();
}

module.exports = { install };
