// What is left on the shelves.

export class OutOfStock extends Error {}

export class Stock {
  readonly #left: Map<string, number>;

  constructor(left: Record<string, number>) {
    this.#left = new Map(Object.entries(left));
  }

  take(article: string, quantity: number): number {
    const before = this.#left.get(article) ?? 0;
    if (before < quantity) throw new OutOfStock(`only ${before} of ${article} left`);
    this.#left.set(article, before - quantity);
    return before - quantity;
  }
}
