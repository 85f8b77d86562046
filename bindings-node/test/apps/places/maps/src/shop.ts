import { Cart, type Item } from './cart.js';

interface Order {
  items: Item[];
}

export function order({ items }: Order): number {
  const cart: Cart = new Cart('till');
  for (const item of items) {
    cart.add(item);
  }
  return cart.total();
}

console.log(order({ items: [{ name: 'tea', price: 2 }, { name: 'milk', price: 1 }] }));
