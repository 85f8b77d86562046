class Base {
  x = 1;
}

class Derived extends Base {
  constructor() {
    const own = () => this;
    super();
    this.own = own;
  }
}

console.log(new Derived().own().x);
