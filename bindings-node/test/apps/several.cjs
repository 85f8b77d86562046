'use strict';

// A program of several processes: `cluster`, `fork`, `spawn`, `exec`.
const { exec, fork, spawn } = require('node:child_process');
const cluster = require('node:cluster');
const { work } = require('./work.cjs');

const [, , how, isChild] = process.argv;
work(how === 'cluster' ? Number(cluster.isPrimary) : Number(isChild === undefined));
if (how === 'cluster' && cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else if (how === 'cluster') {
  cluster.worker.disconnect();
} else if (isChild === undefined) {
  if (how === 'fork') fork(__filename, [how, 'child']);
  if (how === 'spawn') spawn(process.execPath, [__filename, how, 'child'], { stdio: 'inherit' });
  if (how === 'exec') exec(`node ${__filename} exec child`).stdout.pipe(process.stdout);
}
