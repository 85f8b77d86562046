// Frames that a program asks the engine for, in lines in which functions begin. Numbers of scripts are left out.
import util, { getCallSites } from 'node:util';
const frames = (sites) => console.log(sites.map(({ scriptId, ...frame }) => JSON.stringify(frame)).join('\n'));
const inner = (...words) => getCallSites(...words); const outer = (...words) => [1].map(() => inner(...words))[0]; class Cart { #most = 20; get sites() { return outer(this.#most) } }
frames(new Cart().sites);
frames(inner(1));
frames(outer(2, {}));
console.log(inner().length, inner(200).length, inner({}).length, util.getCallSites === getCallSites, getCallSites.name);
for (const words of [[0], [201], ['x'], [1, null], [1, []], [1, { sourceMap: 1 }]]) { try { inner(...words) } catch (error) { console.log(error.code, error.stack.split('\n').filter((line) => line.includes('shown')).join()) } }
async function later() { await 0; return getCallSites(3) }
frames(await later());
