function add(n) {
  const sum = n + MACRO;
  return sum;
}

exports.add = add;
