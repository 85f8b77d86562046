import { taxed } from './tax.js';

/** Rings a sale up. */
export function ring(price) {
  const net = price;

  return taxed(net);
}

export const again = (price) => taxed(price);

console.log(ring(100), again(1));
