'use strict';

function evaluated(code) {
  const own = 20;
  let result = eval(code);
  result += own;
  return result;
}

class Shop extends Object {
  constructor(name) {
    eval('');
    super();
    this.name = name;
  }
}

console.log(evaluated('1 + 1'), evaluated('2'), new Shop('tea').name);
