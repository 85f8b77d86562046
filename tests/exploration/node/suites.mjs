// The programs whose tests are run: where they come from, which of their files take probes, and what runs their tests. Those of
// npm carry their tests in what npm delivers; of the others npm delivers the program, and Debian's source packages the tests.

const debian = 'https://deb.debian.org/debian/pool/main';

/** Tests for Node's own runner, which starts a process for each file. */
const nodeTest = (...files) => ['--test', '--test-reporter=tap', '--test-concurrency=2', ...files];

/** Tests for tape, all in one process. */
const tape = (...files) => ['../../node_modules/tape/bin/tape', ...files];

/**
 * @typedef {object} Suite
 * @property {string} name
 * @property {string} [npm] the package that the program is, tests included
 * @property {{ url: string, sha256: string, with?: Record<string, string> }} [source] an archive; `with` puts files of packages
 *   into it
 * @property {string[]} probed files that take probes
 * @property {string[]} command what Node is given; a name with `*` stands for all such files
 * @property {string[]} [leftOut] tests that are not run, for the reason in README.md
 * @property {boolean} [sync] it never comes back to the event loop, where probes come and go
 * @property {number} [every] only one function in so many takes probes
 */

/** @type {Suite[]} */
export const suites = [
  { name: 'minimist', npm: 'minimist', probed: ['index.js'], command: tape('test/*.js') },
  { name: 'qs', npm: 'qs', probed: ['lib/*.js'], command: tape('test/*.js') },
  { name: 'fastq', npm: 'fastq', probed: ['queue.js'], command: tape('test/test.js', 'test/promise.js') },
  { name: 'find-my-way', npm: 'find-my-way', probed: ['index.js', 'lib/*.js', 'lib/strategies/*.js'], command: nodeTest('test/*.test.js') },
  { name: 'avvio', npm: 'avvio', probed: ['index.js', 'lib/*.js'], command: nodeTest('test/*.test.js') },
  {
    name: 'fast-json-stringify',
    npm: 'fast-json-stringify',
    probed: ['index.js', 'lib/*.js'],
    command: nodeTest('test/*.test.js'),
    leftOut: ['test/webpack.test.js'],
  },
  {
    name: 'fastify',
    npm: 'fastify',
    probed: ['fastify.js', 'lib/*.js'],
    command: nodeTest('test/*.test.js', 'test/*/*.test.js'),
    // Each of some 200 processes places its probes anew.
    every: 12,
  },
  {
    name: 'acorn',
    source: {
      url: `${debian}/a/acorn/acorn_8.8.1%2bds%2b%7ecs25.17.7.orig.tar.xz`,
      sha256: '4821469ea74e99c56dac155de9b1d503e5f83c52ca47cafada62bbd6c7d4da9a',
      with: { 'acorn/dist': 'acorn/dist', 'acorn-loose/dist': 'acorn-loose/dist' },
    },
    probed: ['acorn/dist/acorn.js', 'acorn-loose/dist/acorn-loose.js'],
    command: ['test/run.js'],
    sync: true,
  },
  {
    name: 'express',
    source: {
      url: `${debian}/n/node-express/node-express_4.18.2%2b%7e4.17.14.orig.tar.gz`,
      sha256: 'a9ace1a92a2b0a7e3fcd7a7612553d6208a464561c15ad38f349fc3ab0d7cda0',
    },
    probed: ['lib/*.js', 'lib/*/*.js'],
    command: ['../../node_modules/mocha/bin/mocha.js', '--require', 'test/support/env', '--reporter', 'tap', '--check-leaks', 'test/*.js'],
  },
  {
    name: 'lodash',
    source: {
      url: `${debian}/n/node-lodash/node-lodash_4.17.21%2bdfsg%2b%7ecs8.31.198.20210220.orig.tar.xz`,
      sha256: '3a1cfd932d2170c852b27a9b723d4cf0c2dbe72ccf400f10812de8542d046fde',
      with: { 'node_modules/lodash': 'lodash' },
    },
    probed: ['lodash.js'],
    command: ['test/test.js'],
  },
  { name: 'busboy', npm: 'busboy', probed: ['lib/*.js', 'lib/*/*.js'], command: ['test/test.js'] },
  {
    name: 'thread-stream',
    npm: 'thread-stream',
    probed: ['index.js', 'lib/*.js'],
    command: nodeTest('test/*.test.js', 'test/*.test.mjs'),
    leftOut: ['test/transpiled.test.js', 'test/ts-node-fallback.test.js'],
  },
  {
    name: 'pino',
    npm: 'pino',
    probed: ['pino.js', 'lib/*.js'],
    command: nodeTest('test/*.test.js', 'test/transport/*.test.js'),
    leftOut: ['test/transport/big.test.js'],
  },
  {
    name: 'async',
    source: {
      url: `${debian}/n/node-async/node-async_3.2.6%2bdfsg.orig.tar.xz`,
      sha256: '3f6af1ca970f1e5e708df4af9ae96be8a84e998d342a259df7127c3f021075b8',
      with: { lib: 'async' },
    },
    probed: ['lib/dist/async.js'],
    command: ['../../node_modules/mocha/bin/mocha.js', '--require', 'test/support/setup', '--reporter', 'tap', 'test/*.js'],
    leftOut: ['test/heap.js', 'test/linked_list.js'],
  },
  {
    name: 'underscore',
    source: {
      url: `${debian}/u/underscore/underscore_1.13.8%7edfsg%2b%7e1.13.0.orig.tar.xz`,
      sha256: 'cb695b9117f91eb11e5851bf977cdfcfd9cc1abe42e03e23d1e1ac548f33aa36',
      with: { 'underscore-umd.js': 'underscore/underscore-umd.js', 'underscore-umd.js.map': 'underscore/underscore-umd.js.map' },
    },
    probed: ['underscore-umd.js'],
    command: ['../../node_modules/qunitjs/bin/qunit', 'test/*.js'],
  },
  {
    name: 'typescript',
    npm: 'typescript',
    probed: ['lib/_tsc.js'],
    command: ['lib/tsc.js', '--noEmit', '--types', 'node', '--lib', 'esnext', '--strict', '--listFiles', '../../node_modules/fastq/test/example.ts'],
    sync: true,
    every: 40,
  },
];
