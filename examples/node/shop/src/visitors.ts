// `node dist/visitors.js ADDRESS SECONDS`: fills carts and orders them, from a process of its own.
import { setTimeout } from 'node:timers/promises';

const [address, seconds] = process.argv.slice(2);

/** The same visitors every day. */
let seed = 20;
function dice(sides: number): number {
  seed = (seed * 48271) % 0x7fffffff;
  return seed % sides;
}

function oneOf<Thing>(things: Thing[]): Thing {
  return things[dice(things.length)];
}

async function post(path: string, body: object = {}): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${address}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  await answer.text(); // a visitor who hears "no" goes on
}

async function visit(number: number): Promise<void> {
  const cart = `/carts/c${number}`;
  for (let left = 1 + dice(4); left > 0; left -= 1) {
    await post(`${cart}/lines`, { article: oneOf(['cup', 'cup', 'tea', 'pot', 'tray']), quantity: oneOf([1, 1, 2, 12]) });
  }
  for (const code of ['WELCOME', 'FRIEND', 'TENTH']) {
    if (dice(2) === 0) await post(`${cart}/coupons`, { code });
  }
  await post(`${cart}/order`);
}

let number = 0;
const end = performance.now() + Number(seconds) * 1000;
while (performance.now() < end) {
  number += 1;
  await visit(number);
  await setTimeout(100);
}
console.log(`${number} visitors have left`);
