// A program that debugs itself: a session in its own thread is told of each pause, and Node goes on after that.
const { Session } = require('node:inspector');
const session = new Session();
let [pauses, seen] = [0, 0];
session.connect();
session.on('Debugger.paused', ({ params: { callFrames: [{ callFrameId }] } }) => {
  pauses += 1;
  session.post('Debugger.evaluateOnCallFrame', { callFrameId, expression: 'round' }, (_, { result }) => { seen += result.value; });
});
session.post('Debugger.enable');
session.post('Debugger.setPauseOnExceptions', { state: 'all' });

function work(round) {
  debugger;
  try { throw new Error('caught'); } catch { return round; }
}

function counted(turn) {
  eval('');
  return turn;
}

let sum = 0;
let turns = 0;
const end = performance.now() + 20_000;
function turn() {
  counted(turns);
  for (let round = 0; round < 3; round += 1) sum += work(round);
  turns += 1;
  if (turns < 20) return setTimeout(turn, turns === 10 ? 1500 : 5);
  console.log(sum, pauses, seen, performance.now() < end);
}
turn();
