//! What is told of a module: its functions, where lines are, and the way back from what was written.

use stroboscope_rewriter::{Module, Point, SourceKind, VariableKind, guarded};

#[allow(clippy::expect_used, reason = "a test's own text")]
fn read(text: &str) -> Module {
    Module::read(text, SourceKind::CommonJs).expect("it can be read")
}

#[test]
fn functions_have_the_names_of_their_places() {
    let text = "class A { m() {} static s() {} get g() { return 1 } }\nconst f = () => 1\nexports.e = function () {}\n\
                A.prototype.p = function () {}\nconst o = { k() {}, l: () => 2 }\nfunction m() {}\nmodule.exports.x = () => 3\n";
    let module = read(text);
    let names: Vec<&str> = module.functions().iter().map(|function| function.qualified.as_str()).collect();
    assert_eq!(names, ["A.m", "A.s", "A.g", "f", "e", "A.p", "o.k", "o.l", "m", "x"]);
    assert_eq!(module.named("A.prototype.m"), [0]);
    assert_eq!(module.named("A.p"), [5]);
    assert_eq!(module.named("m"), [8], "a function before a method");
    assert_eq!(module.named("g"), [2]);
    assert_eq!(module.named("k"), [6]);
    assert!(module.named("").is_empty() && module.named("nothing").is_empty() && module.named("B.m").is_empty());
}

#[test]
fn a_variable_names_a_function_with_another_name_and_an_accessor_can_be_told_from_the_other() {
    let module = read(
        "const fact = function f2() {}\nfunction fact2() {}\nconst fact2 = function x() {}\n\
         class K { get a() {} set a(v) {} 'get b'() {} get b() {} }\nconst o = { set p(v) {}, get p() {}, get: () => 1 }\n",
    );
    assert_eq!((module.named("fact"), module.named("f2")), (vec![0], vec![0]));
    assert_eq!(module.named("fact2"), [1], "its own name comes first");
    assert_eq!((module.named("K.get a"), module.named("K.set a"), module.named("K.a")), (vec![3], vec![4], vec![3, 4]));
    assert_eq!(module.named("K.get b"), [5], "it is called so");
    assert_eq!((module.named("get p"), module.named("o.set p"), module.named("o.get")), (vec![8], vec![7], vec![9]));
    assert!(module.named("K.get c").is_empty() && module.named("K.get ").is_empty());
}

#[test]
fn a_line_has_the_sites_that_it_needs() {
    let text = "function f(a) {\n  a(); b()\n  if (a) b()\n  for (const x of a) b(x)\n  if (a) { a()\n  b() } else { a() }\n}\n";
    let module = read(text);
    let lines = |line: u32| module.sites(0, line).len();
    assert_eq!([lines(1), lines(2), lines(3), lines(4), lines(5)], [0, 1, 1, 1, 1]);
    assert_eq!(lines(6), 2, "two ways lead to it");
}

#[test]
fn what_cannot_be_read_says_where() {
    let error = Module::read("let a = 1\nlet = = 2\n", SourceKind::Esm).expect_err("it is no JavaScript");
    assert_eq!(error.line, 2);
    assert!(error.to_string().starts_with("it cannot be parsed"), "{error}");
    let deep = format!("x = {}1", "1+".repeat(100_000));
    assert!(Module::read(&deep, SourceKind::Script).is_ok());
    assert!(guarded("const $strobe = 1", SourceKind::CommonJs, "$strobe").is_err());
}

#[test]
fn what_cannot_be_probed_says_why() {
    let text = "function a(x) { return eval(x) }\nfunction b() { return arguments.callee }\nfunction c($s_x) {}\n\
                function d(o) { with (o) { return () => x } }\nfunction e(x, f = () => x) {}\nfunction ok() {}\n";
    let module = read(text);
    let whole: Vec<bool> = module.functions().iter().map(|function| function.why_not.is_none()).collect();
    assert_eq!(whole, [false, false, false, false, false, false, true, true]);
    let error = module.variant(0, "$cell", &[]).expect_err("it calls eval");
    assert!(error.to_string().contains("eval"), "{error}");
}

#[test]
fn places_lead_back() {
    let text = "const größe = 1\nconst f = (a) => { return größe + a }; const g = () => f(1)\n";
    let guarded = guarded(text, SourceKind::CommonJs, "$cell").expect("guards");
    let line = guarded.code.lines().nth(1).expect("two lines");
    for word in ["return größe", "const g", "f(1)"] {
        let column = |text: &str| text[..text.find(word).expect("it is there")].encode_utf16().count() as u32;
        let (now, before) = (column(line), column(text.lines().nth(1).expect("two lines")));
        assert_eq!(guarded.positions.original(2, now), before, "{word}");
        assert_eq!(guarded.positions.now(2, before), now, "{word}");
        assert_eq!(guarded.positions.owner(2, now), None, "{word}");
    }
    let guard = line.find("$cell[0].call").expect("a guard") as u32;
    assert!(guarded.positions.owner(2, guard).is_some());
}

#[test]
fn code_of_probes_stays_in_its_line() {
    let module = read("function f(a) {\n\n  return a\n}\n");
    let variant = module.variant(0, "$cell", &[(Point::Line(0), "p()")]).expect("a variant");
    assert_eq!(variant.first_line, 1);
    assert_eq!(variant.code.lines().position(|line| line.contains("p()}}return a")), Some(2));
    assert!(module.variant(0, "$cell", &[(Point::Line(0), "p()\n")]).is_err(), "a line break");
    assert!(module.variant(0, "$cell", &[(Point::Line(0), "p(")]).is_err(), "it does not parse");
    assert!(module.variant(7, "$cell", &[]).is_err(), "no such function");
}

#[test]
fn a_debugger_is_told_where_to_stop_and_what_it_can_read() {
    let text = "let total = 0\nfor (const x of [1, 2]) {\n  total += x\n}\nasync function f(queue) {\n  const n = 1\n  while (queue.open) {\n    \
                await queue.next(total, n)\n  }\n  for (let i = 0; i < 9; i++) n\n}\nfunction g(code) {\n  let own = 1\n  return eval(code)\n}\n";
    let module = read(text);
    let stops: Vec<_> = module.top_level().iter().map(|one| module.stop(one.site)).collect();
    // Of a loop over values: where the values come from.
    assert_eq!(stops, [Some((1, 0)), Some((2, 16)), Some((3, 2))]);
    assert_eq!(module.stop_at_entry(1), Some((12, 18)));
    let running: Vec<_> =
        module.functions()[0].statements.iter().map(|one| (one.line, module.may_be_running(0, one.site))).collect();
    assert_eq!(running, [(6, false), (7, true), (8, true), (10, false), (10, false)]);
    let careful = |name: &str| format!("?{name}");
    let names = |function: Option<usize>, site: Option<u32>| -> Vec<String> {
        module.bare_scope(function, site, careful).variables.into_iter().map(|one| one.name).collect()
    };
    assert_eq!(names(None, Some(module.top_level()[2].site)), ["x", "total", "f", "g"]);
    assert_eq!(names(None, Some(module.top_level()[0].site)), ["f", "g"], "`total` is not bound yet");
    let line = |function: usize, line: u32| {
        module.functions()[function].statements.iter().find(|one| one.line == line).map(|one| one.site)
    };
    assert_eq!(names(Some(0), line(0, 8)), ["queue", "n", "total"]);
    assert_eq!(names(Some(1), line(1, 14)), ["code", "own", "total"]);
    assert_eq!(names(Some(1), None), ["code", "total"]);
    assert_eq!(module.bare_scope(Some(1), None, careful).this.as_deref(), Some("this"));
    let texts = |function: usize, at: u32| -> Vec<String> {
        let seen = module.bare_scope(Some(function), line(function, at), careful);
        seen.variables.into_iter().map(|one| one.text).collect()
    };
    assert_eq!(texts(1, 14), ["code", "own", "?total"], "an outer one may be lost");
    assert_eq!(texts(0, 8), ["?queue", "?n", "?total"], "a function that waits keeps what is read later");
    let module = read("function f(a) { const g = () => eval(this); switch (a) { case 0: let b; default: eval(a) } }");
    let seen =
        module.bare_scope(Some(0), Some(module.functions()[0].statements.last().expect("the last").site), careful);
    assert_eq!(
        seen.variables.iter().map(|one| &*one.text).collect::<Vec<_>>(),
        ["?b", "a", "g"],
        "another case may have run"
    );
    assert_eq!(module.bare_scope(Some(1), None, careful).this.as_deref(), Some("?this"));
    assert_eq!(module.why_no_stop(1), None);
    assert!(read("class A extends B { constructor() { super() } }").why_no_stop(0).is_some());
}

#[test]
fn what_only_declares_has_no_line_and_a_class_is_told_as_one() {
    let text = "export function f() {}\nexport { f as g };\nexport default function () {}\nexport class A {}\nexport const c = 1;\n\
                class B {\n  static {\n    f();\n  }\n}\nfunction h() {\n  class C {\n    static {\n      f();\n    }\n  }\n}\n";
    let module = Module::read(text, SourceKind::Esm).expect("it can be read");
    let stops: Vec<_> = module.top_level().iter().map(|one| (one.line, module.stop(one.site).is_some())).collect();
    assert_eq!(
        stops,
        [(4, false), (5, true), (6, false), (8, true)],
        "a debugger stops nowhere but in the constructor"
    );
    let inside: Vec<u32> = module.functions()[2].statements.iter().map(|one| one.line).collect();
    assert_eq!(inside, [12, 14], "a static block runs where its class stands");
}

#[test]
fn variables_of_the_module_are_found_where_a_function_does_not_name_them() {
    let text = "const limit = 1, unused = 2;\nlet hidden = 3;\nfunction a() { hidden = limit }\nfunction b(limit) { return 0 }\n\
                function c() { const hidden = 4; return () => 0 }\n";
    let module = read(text);
    let elsewhere = |function: usize| -> Vec<String> {
        let seen = module.scope(function, Point::Entry).variables;
        seen.into_iter().filter(|one| one.kind == VariableKind::Elsewhere).map(|one| one.name).collect()
    };
    assert_eq!(elsewhere(0), ["hidden"], "it writes it, and reads the other");
    assert_eq!(elsewhere(1), ["hidden"], "a parameter hides the other");
    assert_eq!(elsewhere(3), ["limit"], "what hides it is out of reach");
    let bare: Vec<String> =
        module.bare_scope(Some(1), None, str::to_owned).variables.into_iter().map(|one| one.name).collect();
    assert_eq!(bare, ["limit", "hidden"]);
    let guarded = guarded(text, SourceKind::CommonJs, "$cell").expect("guards");
    assert!(guarded.code.contains("{case 0:return hidden;case 1:return limit;}}"), "{}", guarded.code);
    assert!(
        !read("function f() { $s_n() }\nlet x\nfunction g() { return x }").scope(1, Point::Entry).variables.is_empty()
    );
}

#[test]
fn a_body_of_a_function_has_its_parameters() {
    let text = "const make = () => left + right;\nreturn make;\n";
    let kind = SourceKind::Function(&["left", "right"]);
    let module = Module::read(text, kind).expect("it can be read");
    let names: Vec<String> = module.scope(0, Point::Entry).variables.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["left", "right"]);
    assert!(module.variant(0, "$cell", &[]).expect("a variant").code.contains("$s_c[0]() + $s_c[1]()"));
}

#[test]
fn a_function_in_another_is_found_by_both_names() {
    let text = "function outer() { return () => { function inner() {} } }\nclass A { m() { const inner = () => 1 } }";
    let module = read(text);
    let inner = module.named("outer.inner");
    assert_eq!(inner.len(), 1);
    assert_eq!(module.named("outer.<locals>.inner"), inner);
    assert_eq!(module.named("A.m.inner").len(), 1);
    assert!(module.named("m.inner").is_empty() && module.named("inner.outer").is_empty());
    assert_eq!(module.named("inner").len(), 2);
}
