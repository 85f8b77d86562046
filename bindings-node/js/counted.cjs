// Whether Node measures how often each piece of code runs, by its place in the text.
'use strict';

const options = process.execArgv.concat(process.env.NODE_OPTIONS ?? '');

const isCounted = Boolean(process.env.NODE_V8_COVERAGE) || options.some((words) => words.includes('--experimental-test-coverage'));

module.exports = { isCounted };
