function f() { return new Error('x').stack; } function g() { return f(); } class C { constructor() { this.stack = g(); } } console.log(new C().stack);
