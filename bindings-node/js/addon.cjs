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
  for (const name of packages()) {
    try {
      return require.resolve(name);
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
    if (error.code === 'ERR_DLOPEN_DISABLED') throw new Error('this process may load no addons: allow it with --allow-addons');
    throw new Error(`the addon ${file} cannot be loaded: ${error.message}`);
  }
}

const addon = load(find());
// A record that one of them writes must be what the other one reads.
addon.hello(LAYOUT, VERSION);

module.exports = addon;
