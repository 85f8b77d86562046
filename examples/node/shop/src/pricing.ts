// Prices and coupons, in cents. Somewhere in here money is given away: the demo finds out when.
import { setTimeout } from 'node:timers/promises';

const prices: Record<string, number> = { cup: 450, pot: 2400, tea: 320, tray: 6000 };
const coupons: Record<string, number> = { WELCOME: 500, FRIEND: 750 };

export async function price(article: string, quantity: number): Promise<number> {
  await setTimeout(2 * quantity); // asking the price service
  const amount = prices[article] * quantity;
  return quantity >= 10 ? Math.round(amount * 0.9) : amount;
}

export function discount(coupon: string, total: number): number {
  return coupons[coupon] ?? Math.round(total / 10);
}
