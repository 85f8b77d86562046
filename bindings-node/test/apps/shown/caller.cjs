// Asks who calls, as sloppy functions can.
function who() { return who.caller }
function asks() { return who() }
function isCalled() { return isCalled.caller }
function calls() { return isCalled() }
console.log(asks() === asks, asks().name, calls() === calls, who() === null || typeof who());
