'use strict';

// Workers that serve until the input of the first process ends: processes of a cluster, or threads. A line kills one
// process, and another takes its place.
const cluster = require('node:cluster');
const { isMainThread, Worker } = require('node:worker_threads');

const [, , how, count] = process.argv;

function serve(x) {
  return x;
}

function work() {
  let x = 0;
  const going = setInterval(() => serve((x += 1)), 10);
  process.on('disconnect', () => clearInterval(going));
}

function manageThreads() {
  const threads = Array.from({ length: Number(count) }, () => new Worker(__filename, { argv: [how, count] }));
  process.stdin.resume().on('end', () => threads.forEach((thread) => thread.terminate()));
}

function manageProcesses() {
  let ends = false;
  const all = () => Object.values(cluster.workers);
  for (let n = 0; n < Number(count); n += 1) cluster.fork();
  cluster.on('exit', () => ends || cluster.fork());
  process.stdin.on('data', () => all()[0].process.kill('SIGKILL'));
  process.stdin.on('end', () => {
    ends = true;
    for (const worker of all()) worker.disconnect();
  });
}

if (cluster.isWorker || !isMainThread) work();
else if (how === 'cluster') manageProcesses();
else manageThreads();
