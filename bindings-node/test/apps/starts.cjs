'use strict';

// Starts another script, and loads nothing of it.
const { spawnSync } = require('node:child_process');

spawnSync(process.execPath, [process.argv[2]], { cwd: __dirname, stdio: 'inherit' });
