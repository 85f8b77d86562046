export interface Item {
  name: string;
  price: number;
}

/** Not much of one. */
export class Cart {
  private items: Item[] = [];

  constructor(readonly owner: string) {}

  add(item: Item): void {
    const price = item.price as number;
    if (price > 0) this.items.push(item);
  }

  total(): number {
    const sum = (sum: number, item: Item): number => sum + item.price;
    return this.items.reduce(sum, 0);
  }
}
