const LIMIT = 2;
let seen = 0;
function over(n) {
  return n > LIMIT;
}
function count(n) {
  seen += n;
  return [seen, { n }];
}
[over, count];
