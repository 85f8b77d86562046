const limit = 2;
let seen = 0;
export function over(n) {
  return n > limit;
}
function plain(n) {
  return n + 1;
}
export class Box {
  static {
    const start = 7;
    Box.first = start;
  }
}
export const box = new Box();
seen += 1;
const inside = () => {
  class Inner {
    static {
      const start = 8;
      Inner.first = start;
    }
  }
  const limit = 3;
  return [() => Inner.first, limit];
};
console.log(over(3), plain(1), seen, Box.first, inside()[0]());
function fails(error) {
  return error.message;
}
console.log(fails(new RangeError('too much')));
