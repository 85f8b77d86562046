// The same in a module of ES.
export function price(item) {
  if (item.sale) return item.price / 2;
  return item.price;
}

export const names = (items) => items.map((item) => item.name);
