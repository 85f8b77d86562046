'use strict';

// A loader as coverage tools have it: it makes one line of a file, without a source map.
const Module = require('node:module');

const load = Module._extensions['.js'];
Module._extensions['.cjs'] = (module, filename) => {
  const compile = module._compile;
  module._compile = (code, ...rest) => {
    module._compile = compile;
    return module._compile(code.replaceAll('\n', ' '), ...rest);
  };
  load(module, filename);
};
