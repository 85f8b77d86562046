// `npm start`: serves the shop for some seconds to visitors that come by themselves, then ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { shop } from './shop.js';

const seconds = Number(process.argv[2] ?? 15);
const app = shop();
const address = await app.listen({ host: '127.0.0.1', port: 0 });
console.log(`the shop is open on ${address} for ${seconds} s`);
const visitors = fileURLToPath(new URL('visitors.js', import.meta.url));
const child = spawn(process.execPath, [visitors, address, String(seconds)], { stdio: 'inherit' });
const [code] = await once(child, 'exit');
await app.close();
console.log('the shop is closed');
process.exitCode = code;
