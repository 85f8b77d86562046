'use strict';

function plain(a) { return a; }
async function directive() {
  'use strict';
  return plain(await 1);
}
const concise = (a, b = (1)) => (a ? plain(a) : b);
function* steps() { yield* [1]; }
class Safe {
  #code = 1;
  static #made = 0;
  open(code) { Safe.#made += 1; return code === this.#code; }
  get made() { return Safe.#made; }
}
const texts = [plain, directive, concise, steps, Safe, Safe.prototype.open].map(String);
const { toString } = Function.prototype;
const [own] = [toString].map((of) => of.call(of));
let refused = '';
try { toString.call({}); } catch (error) { refused = error.message; }
console.log(JSON.stringify({ texts, own, name: toString.name, length: toString.length, refused, keys: Object.keys(Function.prototype) }));
