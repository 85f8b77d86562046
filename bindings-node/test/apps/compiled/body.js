const doubled = left * 2;
const make = (n) => {
  return doubled + n + right;
};
return make;
