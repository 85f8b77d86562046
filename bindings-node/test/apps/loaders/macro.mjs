export function add(n) {
  const sum = n + MACRO;
  return sum;
}
