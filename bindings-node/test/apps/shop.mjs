import { total } from './total.mjs';

export async function order(prices) {
  const sum = total(prices);
  await null;
  return sum;
}

console.log(await order([1, 2, 3]));
