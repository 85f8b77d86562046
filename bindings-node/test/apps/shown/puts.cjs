// Looks after what stands in `Error.prepareStackTrace`, as libraries do that put something there and take it out again.
'use strict';
const before = Error.prepareStackTrace;
const mine = (error, sites) => { const inside = Error.prepareStackTrace; return `${typeof inside} ${sites.length > 0}`; };
function make() { return new Error('x').stack; }
Error.prepareStackTrace = mine;
console.log(`mine: ${Error.prepareStackTrace === mine}`);
if (make() !== 'function true') console.log('not formatted by mine');
Error.prepareStackTrace = before;
console.log(`put back: ${Error.prepareStackTrace === before}`);
Error.prepareStackTrace = undefined;
console.log(`nothing: ${make().split('\n')[1].trim()}`);
console.log(`still: ${Error.prepareStackTrace}`);
