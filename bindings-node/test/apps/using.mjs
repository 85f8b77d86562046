// Resources that end with their blocks; lines marked with a star can have a probe.
const made = (name) => ({ name, [Symbol.dispose]: () => console.log('end', name), [Symbol.asyncDispose]: async () => console.log('later', name) });
function sync() {
  using one = made('one'); // *
  return one.name; // *
}
async function later() {
  await using two = made('two'); // *
  using three = made('three'); // *
  return two.name + three.name; // *
}
function* steps() {
  using four = made('four'); // *
  yield four.name; // *
}
const loop = () => {
  for (using five of [made('five')]) { // *
    console.log(five.name); // *
  }
};
console.log(sync(), await later(), [...steps()], loop());
