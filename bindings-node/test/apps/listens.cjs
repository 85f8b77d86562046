// Has a listener of its own before it starts a session, and goes on after the signal.
process.on('SIGTERM', () => {});
const strobe = require('../../js/index.cjs');
strobe.start({ terminal: 'never', ndjson: '/dev/null' });
process.kill(process.pid, 'SIGTERM');
setTimeout(() => {
  strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'waits.cjs', lines: ['4'] }, template: 'x' });
  console.log(strobe.status()[0].state);
}, 50);
