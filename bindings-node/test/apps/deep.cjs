'use strict';

function outer(n) {
  return inner(n);
}

function inner(n) {
  const twice = n * 2;
  return twice;
}

outer(1);
