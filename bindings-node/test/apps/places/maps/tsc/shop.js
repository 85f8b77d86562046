import { Cart } from './cart.js';
export function order({ items }) {
    const cart = new Cart('till');
    for (const item of items) {
        cart.add(item);
    }
    return cart.total();
}
console.log(order({ items: [{ name: 'tea', price: 2 }, { name: 'milk', price: 1 }] }));
//# sourceMappingURL=shop.js.map