// Without 'use strict'.
function twice(amount) {
  return amount * 2;
}

console.log(twice(2));
