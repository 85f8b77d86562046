'use strict';

// A loader as tracers and compilers have it: it stands in `Module.prototype._compile`, and changes each file in its first line.
const Module = require('node:module');

globalThis.loaded = [];
const { _compile } = Module.prototype;
Module.prototype._compile = function (code, filename, ...rest) {
  return _compile.call(this, `globalThis.loaded.push(__filename);${code}`, filename, ...rest);
};
