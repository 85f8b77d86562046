function f(a) {
  return a;
}
f(1);
try { f() = 1; } catch (error) { console.log(error.name); }
