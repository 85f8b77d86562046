'use strict';

function more(threads) {
  return threads;
}

const { readdirSync } = require('node:fs');
const { execFileSync } = require('node:child_process');
const count = (pid) => readdirSync(`/proc/${pid}/task`).length;
const bare = 'process.stdout.write(String(require("fs").readdirSync("/proc/self/task").length))';
const env = { ...process.env, NODE_OPTIONS: '' };
more(count('self') - Number(execFileSync(process.execPath, ['-e', bare], { env, encoding: 'utf8' })));
