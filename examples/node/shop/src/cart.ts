// What one visitor wants to buy.
import { discount, price } from './pricing.js';

interface Line {
  article: string;
  quantity: number;
  /** In cents. */
  amount: number;
}

export class Cart {
  readonly lines: Line[] = [];
  readonly coupons: string[] = [];

  constructor(readonly id: string) {}

  async add(article: string, quantity: number): Promise<void> {
    const amount = await price(article, quantity);
    this.lines.push({ article, quantity, amount }); // probe: line-added
  }

  total(): number {
    let total = this.lines.reduce((sum, line) => sum + line.amount, 0);
    for (const coupon of this.coupons) total -= discount(coupon, total);
    return total; // probe: below-zero
  }
}
