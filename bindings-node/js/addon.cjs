// The addon: built from source by tools/addon.sh into native/, or of the package for this platform, which npm installs beside
// this one.
'use strict';

const { existsSync } = require('node:fs');
const path = require('node:path');
const { LAYOUT, VERSION } = require('./layout.cjs');

const built = path.join(__dirname, '..', 'native', 'stroboscope.node');
const { arch, platform } = process;

/** The packages that may hold it: which C library this Linux has is npm's to know, and it installs the one that fits. */
function packages() {
  const name = `stroboscope-${platform}-${arch}`;
  return platform === 'linux' ? [`${name}-gnu`, `${name}-musl`] : [name];
}

function find() {
  if (existsSync(built)) return built;
  const names = packages();
  for (let at = 0; at < names.length; at += 1) {
    try {
      return require.resolve(names[at]);
    } catch {
      // The next one, or none.
    }
  }
  throw new Error(
    `there is no addon for ${platform} ${arch}: the package ${packages().join(' or ')} is not installed. ` +
      'Install stroboscope without --omit=optional, on the platform where the program runs',
  );
}

function load(file) {
  try {
    const loaded = { exports: {} };
    process.dlopen(loaded, file);
    return loaded.exports;
  } catch (error) {
    if (error.code === 'ERR_DLOPEN_DISABLED') throw new Error(`this process may load no addons: ${remedy()}`);
    throw new Error(`the addon ${file} cannot be loaded: ${error.message}`);
  }
}

/** The permission model forbids them as long as they are not allowed; an option forbids them whatever that says. */
function remedy() {
  const words = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)];
  return words.includes('--no-addons') ? 'start Node without --no-addons' : 'allow it with --allow-addons';
}

const { isArray } = Array;
const { keys } = Object;
const { apply, getPrototypeOf: prototypeOf, setPrototypeOf } = Reflect;
const { prototype: ObjectPrototype } = Object;

/** What the addon answers, without a prototype: what the program has put on that of all objects is nothing that we were told. */
function told(answer) {
  if (typeof answer !== 'object' || answer === null) return answer;
  if (!isArray(answer)) {
    if (prototypeOf(answer) !== ObjectPrototype) return answer;
    setPrototypeOf(answer, null);
  }
  const names = keys(answer);
  for (let at = 0; at < names.length; at += 1) told(answer[names[at]]);
  return answer;
}

/** The addon with what hits call as it is: that answers nothing but numbers, texts and bytes. */
function wrapped(addon) {
  const made = { __proto__: null };
  const names = keys(addon);
  for (let at = 0; at < names.length; at += 1) {
    const name = names[at];
    const one = addon[name];
    const isPlain = typeof one !== 'function' || (name.startsWith('intake') && name !== 'intakeLimits');
    made[name] = isPlain ? one : { [name]() { return told(apply(one, addon, arguments)); } }[name];
  }
  return made;
}

const addon = wrapped(load(find()));
// A record that one of them writes must be what the other one reads.
addon.hello(LAYOUT, VERSION);

module.exports = addon;
