/** Not much of one. */
export class Cart {
    owner;
    items = [];
    constructor(owner) {
        this.owner = owner;
    }
    add(item) {
        const price = item.price;
        if (price > 0)
            this.items.push(item);
    }
    total() {
        const sum = (sum, item) => sum + item.price;
        return this.items.reduce(sum, 0);
    }
}
//# sourceMappingURL=cart.js.map