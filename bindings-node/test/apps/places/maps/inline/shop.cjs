var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// src/shop.ts
var shop_exports = {};
__export(shop_exports, {
  order: () => order
});
module.exports = __toCommonJS(shop_exports);

// src/cart.ts
var Cart = class {
  constructor(owner) {
    this.owner = owner;
  }
  items = [];
  add(item) {
    const price = item.price;
    if (price > 0) this.items.push(item);
  }
  total() {
    const sum = (sum2, item) => sum2 + item.price;
    return this.items.reduce(sum, 0);
  }
};

// src/shop.ts
function order({ items }) {
  const cart = new Cart("till");
  for (const item of items) {
    cart.add(item);
  }
  return cart.total();
}
console.log(order({ items: [{ name: "tea", price: 2 }, { name: "milk", price: 1 }] }));
// Annotate the CommonJS export names for ESM import in node:
0 && (module.exports = {
  order
});
//# sourceMappingURL=data:application/json;base64,ewogICJ2ZXJzaW9uIjogMywKICAic291cmNlcyI6IFsiLi4vc3JjL3Nob3AudHMiLCAiLi4vc3JjL2NhcnQudHMiXSwKICAic291cmNlc0NvbnRlbnQiOiBbImltcG9ydCB7IENhcnQsIHR5cGUgSXRlbSB9IGZyb20gJy4vY2FydC5qcyc7XG5cbmludGVyZmFjZSBPcmRlciB7XG4gIGl0ZW1zOiBJdGVtW107XG59XG5cbmV4cG9ydCBmdW5jdGlvbiBvcmRlcih7IGl0ZW1zIH06IE9yZGVyKTogbnVtYmVyIHtcbiAgY29uc3QgY2FydDogQ2FydCA9IG5ldyBDYXJ0KCd0aWxsJyk7XG4gIGZvciAoY29uc3QgaXRlbSBvZiBpdGVtcykge1xuICAgIGNhcnQuYWRkKGl0ZW0pO1xuICB9XG4gIHJldHVybiBjYXJ0LnRvdGFsKCk7XG59XG5cbmNvbnNvbGUubG9nKG9yZGVyKHsgaXRlbXM6IFt7IG5hbWU6ICd0ZWEnLCBwcmljZTogMiB9LCB7IG5hbWU6ICdtaWxrJywgcHJpY2U6IDEgfV0gfSkpO1xuIiwgImV4cG9ydCBpbnRlcmZhY2UgSXRlbSB7XG4gIG5hbWU6IHN0cmluZztcbiAgcHJpY2U6IG51bWJlcjtcbn1cblxuLyoqIE5vdCBtdWNoIG9mIG9uZS4gKi9cbmV4cG9ydCBjbGFzcyBDYXJ0IHtcbiAgcHJpdmF0ZSBpdGVtczogSXRlbVtdID0gW107XG5cbiAgY29uc3RydWN0b3IocmVhZG9ubHkgb3duZXI6IHN0cmluZykge31cblxuICBhZGQoaXRlbTogSXRlbSk6IHZvaWQge1xuICAgIGNvbnN0IHByaWNlID0gaXRlbS5wcmljZSBhcyBudW1iZXI7XG4gICAgaWYgKHByaWNlID4gMCkgdGhpcy5pdGVtcy5wdXNoKGl0ZW0pO1xuICB9XG5cbiAgdG90YWwoKTogbnVtYmVyIHtcbiAgICBjb25zdCBzdW0gPSAoc3VtOiBudW1iZXIsIGl0ZW06IEl0ZW0pOiBudW1iZXIgPT4gc3VtICsgaXRlbS5wcmljZTtcbiAgICByZXR1cm4gdGhpcy5pdGVtcy5yZWR1Y2Uoc3VtLCAwKTtcbiAgfVxufVxuIl0sCiAgIm1hcHBpbmdzIjogIjs7Ozs7Ozs7Ozs7Ozs7Ozs7OztBQUFBO0FBQUE7QUFBQTtBQUFBO0FBQUE7OztBQ01PLElBQU0sT0FBTixNQUFXO0FBQUEsRUFHaEIsWUFBcUIsT0FBZTtBQUFmO0FBQUEsRUFBZ0I7QUFBQSxFQUY3QixRQUFnQixDQUFDO0FBQUEsRUFJekIsSUFBSSxNQUFrQjtBQUNwQixVQUFNLFFBQVEsS0FBSztBQUNuQixRQUFJLFFBQVEsRUFBRyxNQUFLLE1BQU0sS0FBSyxJQUFJO0FBQUEsRUFDckM7QUFBQSxFQUVBLFFBQWdCO0FBQ2QsVUFBTSxNQUFNLENBQUNBLE1BQWEsU0FBdUJBLE9BQU0sS0FBSztBQUM1RCxXQUFPLEtBQUssTUFBTSxPQUFPLEtBQUssQ0FBQztBQUFBLEVBQ2pDO0FBQ0Y7OztBRGRPLFNBQVMsTUFBTSxFQUFFLE1BQU0sR0FBa0I7QUFDOUMsUUFBTSxPQUFhLElBQUksS0FBSyxNQUFNO0FBQ2xDLGFBQVcsUUFBUSxPQUFPO0FBQ3hCLFNBQUssSUFBSSxJQUFJO0FBQUEsRUFDZjtBQUNBLFNBQU8sS0FBSyxNQUFNO0FBQ3BCO0FBRUEsUUFBUSxJQUFJLE1BQU0sRUFBRSxPQUFPLENBQUMsRUFBRSxNQUFNLE9BQU8sT0FBTyxFQUFFLEdBQUcsRUFBRSxNQUFNLFFBQVEsT0FBTyxFQUFFLENBQUMsRUFBRSxDQUFDLENBQUM7IiwKICAibmFtZXMiOiBbInN1bSJdCn0K
