// A program that parses: three parsers that consist of small functions, each over its own text or that of another.
'use strict';

const { readFileSync } = require('node:fs');

/** `from`: where the parsers are required from. */
function suite(from) {
  const acorn = from('acorn');
  const babel = from('@babel/parser');
  const { marked } = from('marked');
  const script = readFileSync(require.resolve('acorn'), 'utf8');
  const text = readFileSync(require.resolve('marked/package.json').replace('package.json', 'README.md'), 'utf8');
  return function parse() {
    const nodes = acorn.parse(script, { ecmaVersion: 2022 }).body.length + babel.parse(script).program.body.length;
    return nodes + marked.parse(text).length;
  };
}

module.exports = { suite };
