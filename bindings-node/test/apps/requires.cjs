'use strict';

const load = require('./imports.cjs');

module.exports = load;
