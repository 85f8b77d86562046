import { total } from './total.mjs';

const sum = total([4, 5]);
await null;
console.log(sum, later);
var later;
