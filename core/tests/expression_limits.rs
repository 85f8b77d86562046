//! What an evaluation may cost: depth, steps, time, counts, and texts of failures.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]
#![allow(clippy::disallowed_methods, reason = "a stack of a given size needs a thread of its own")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::Clock;
use stroboscope_core::expr::eval::{self, Budget, Failure, Limit, Names, Scope, Scratch};
use stroboscope_toys::inside::{Place, made};
use stroboscope_toys::json::Json;
use stroboscope_toys::kinds::Case;
use stroboscope_toys::value::{Dialect, Made, Node, Stored, World};

/// A clock that counts its reads and moves a millisecond with each.
#[derive(Default)]
struct Counting(AtomicU64);

impl Clock for Counting {
    fn monotonic(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) * 1_000_000
    }
    fn coarse(&self) -> u64 {
        self.monotonic()
    }
    fn wall(&self) -> u64 {
        self.monotonic()
    }
    fn thread_cpu(&self) -> u64 {
        self.monotonic()
    }
}

fn world(vars: &str) -> World {
    World::new(&Json::read(vars).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn case(text: &str, world: World) -> Case {
    Case::of_text(text, world, Redaction::default())
}

/// Evaluates with a time of so many milliseconds; says how often the clock was read.
fn timed(case: &Case, milliseconds: u64) -> (Result<Made, Failure>, u64) {
    let clock = Counting::default();
    let mut scratch = Scratch::default();
    let mut budget = Budget::new(&clock, milliseconds * 1_000_000, &case.redaction, &mut scratch);
    let place = Place(&case.world);
    let scope = Scope { frame: &place, returned: None, exception: None, duration: None };
    let outcome = eval::evaluate(case.compiled.as_ref().unwrap(), &case.symbols, &scope, &mut budget);
    (outcome.map(|operand| made(&operand)), clock.0.load(Ordering::Relaxed))
}

fn numbers(name: &str, count: usize) -> World {
    let mut world = World::default();
    world.classes.push(stroboscope_toys::value::Class { names: vec!["value".to_owned()], redacted: false, number: 0 });
    world.nodes.extend((0..count).map(|number| Node::Int(i64::try_from(number).unwrap())));
    world.nodes.push(Node::List((0..u32::try_from(count).unwrap()).collect()));
    world.vars.push((name.to_owned(), u32::try_from(count).unwrap()));
    world
}

#[test]
fn a_short_evaluation_reads_no_clock() {
    let short = case("len(items) > 3 && user.id == 42", world(r#"{"items": [1, 2, 3, 4], "user": {"id": 42}}"#));
    let (outcome, reads) = timed(&short, 50);
    assert!(matches!(outcome, Ok(Made::Bool(true))));
    assert_eq!(reads, 0);
    let (outcome, reads) = timed(&case("all(l, {@it >= 0})", numbers("l", 200)), 50);
    assert!(matches!(outcome, Ok(Made::Bool(true))));
    assert!(reads > 0 && reads < 10, "{reads} reads");
}

#[test]
fn a_walk_that_pauses_goes_on_and_looks_at_the_clock() {
    let vars = r#"{"s": {"$set": [1, 2, 3, 4, 5, 6, 7]}, "t": {"$set": [7, 6, 5, 4, 3, 2, 1]}, "u": {"$set": [7, 6, 5, 4, 3, 2, 8]},
        "m": {"$map": [[1, "a"], ["two", "b"], [3, "c"], [4, "d"], [5, "e"]]},
        "n": {"$map": [[5, "e"], [4, "d"], [3, "c"], ["two", "b"], [1, "a"]]}}"#;
    for (text, expected) in [
        ("any(s, {@it == 7})", true),
        ("all(s, {@it < 7})", false),
        ("len(filter(s, {@it > 1})) == 6", true),
        ("contains(s, 7) && !contains(s, 8)", true),
        ("s == t && s != u && m == n", true),
        ("any(m, {@key == 5 && @value == \"e\"})", true),
        ("m[5] == \"e\" && m[\"two\"] == \"b\" && m.two == \"b\"", true),
        ("contains(m, 4) && !contains(m, 6)", true),
    ] {
        let mut world = world(vars);
        world.pauses = true;
        let case = case(text, world);
        let (outcome, reads) = timed(&case, 5_000);
        assert!(matches!(outcome, Ok(Made::Bool(value)) if value == expected), "{text}: {outcome:?}");
        assert!(reads > 0, "{text}: {reads} reads");
        // The first look begins the time; where there are more, they end it.
        if reads > 1 {
            assert_eq!(timed(&case, 1).0.unwrap_err(), Failure::Timeout, "{text}");
        }
    }
}

#[test]
fn comparing_huge_integers_takes_its_time() {
    let digits = format!("1{}", "0".repeat(40_000));
    let vars = format!(r#"{{"a": {{"$int": "{digits}"}}, "l": {{"$count": {{"times": 2000}}}}}}"#);
    let long = case("all(l, {a == a})", world(&vars));
    let (outcome, few) = timed(&case("all(l, {@it == @it})", world(&vars)), 5_000);
    assert!(matches!(outcome, Ok(Made::Bool(true))));
    let (outcome, reads) = timed(&long, 5_000);
    assert!(matches!(outcome, Ok(Made::Bool(true))));
    assert!(reads > few + 20, "{reads} reads, {few} of small ones");
}

#[test]
fn a_position_is_told_from_what_stands_before_the_point() {
    let zeros = "0".repeat(200_000);
    let vars = format!(r#"{{"l": [7, 8, 9], "d": {{"$decimal": "1.{zeros}"}}, "e": {{"$decimal": "1.{zeros}1"}}}}"#);
    assert!(matches!(timed(&case("l[d] == 8", world(&vars)), 5_000).0, Ok(Made::Bool(true))));
    assert!(timed(&case("l[e] == 8", world(&vars)), 5_000).0.is_err());
}

#[test]
fn time_used_up_goes_through_is_defined() {
    let long = case("isDefined(all(l, {@it >= 0}))", numbers("l", 40_000));
    assert_eq!(timed(&long, 50).0.unwrap_err(), Failure::Timeout);
    assert!(matches!(timed(&long, 5_000).0, Ok(Made::Bool(true))));
}

#[test]
fn predicates_and_comparisons_are_counted() {
    let all = |count| timed(&case("all(l, {@it >= 0})", numbers("l", count)), u64::from(u32::MAX)).0;
    assert!(matches!(all(50_000), Ok(Made::Bool(true))));
    assert_eq!(all(50_001).unwrap_err(), Failure::Limit(Limit::Predicates));
    let contains = |count| timed(&case("contains(l, -1)", numbers("l", count)), u64::from(u32::MAX)).0;
    assert!(matches!(contains(1_000_000), Ok(Made::Bool(false))));
    assert_eq!(contains(1_000_001).unwrap_err(), Failure::Limit(Limit::Comparisons));
    let nested = case("any(l, {contains(l, -1)})", numbers("l", 5_000));
    assert_eq!(timed(&nested, u64::from(u32::MAX)).0.unwrap_err(), Failure::Limit(Limit::Comparisons));
}

#[test]
fn cycles_end_in_a_limit() {
    // The outside toy compares by recursion.
    let roomy = thread::Builder::new().stack_size(64 << 20).spawn(cycles).unwrap();
    roomy.join().unwrap();
}

fn cycles() {
    let mut loops = world(r#"{"a": [], "b": [], "m": {"$map": []}, "n": {"$map": []}}"#);
    let id = |world: &World, name: &str| world.var(name).unwrap();
    for name in ["a", "b"] {
        let id = id(&loops, name);
        loops.nodes[id as usize] = Node::List(vec![id]);
    }
    let key = id(&loops, "a");
    for name in ["m", "n"] {
        let id = id(&loops, name);
        loops.nodes[id as usize] = Node::Map { entries: vec![(id, id)], record: false };
    }
    loops.nodes.push(Node::Set(vec![key]));
    for text in ["a == b", "a == a", "m == n", "m != m", "contains(a, b)", "isDefined(m[n])"] {
        let Case { compiled, symbols, .. } = case(text, world("{}"));
        let redaction = Redaction::default();
        let case = Case { world: std::mem::take(&mut loops), redaction, compiled, symbols };
        assert_eq!(timed(&case, u64::from(u32::MAX)).0.unwrap_err(), Failure::Limit(Limit::Nesting), "{text}");
        assert_eq!(case.value_outside().unwrap_err(), "limit", "{text}");
        loops = case.world;
    }
}

#[test]
fn a_thousand_levels_fit_a_small_stack() {
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let shapes = [
        deep("not(", "true", ")", 1000),
        deep("isDefined(", "missing", ")", 999),
        deep("any(l, {", "@it == 1", "})", 500),
        deep("(1 == ", "1", ")", 1000),
        deep("true && (false || (", "5", "))", 500),
        deep("l[", "0", "]", 1000),
        deep("filter(", "l", ", {true})", 1000),
        format!("l{}", ".x".repeat(1000)),
    ];
    for text in shapes {
        let run = move || {
            let case = case(&text, world(r#"{"l": [0, 1]}"#));
            assert!(case.compiled.is_ok(), "{:?}", case.compiled.err());
            timed(&case, u64::from(u32::MAX)).0.map(|_| ()).map_err(|failure| failure.category().name())
        };
        let small = thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap();
        match small.join().unwrap() {
            Ok(()) | Err("type" | "limit") => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn long_texts_are_limited_where_they_must_be() {
    let text = |stored: Stored| {
        let mut world = world(r#"{"s": ""}"#);
        let id = world.var("s").unwrap();
        world.nodes[id as usize] = Node::Str(stored);
        world
    };
    let limit = |expression: &str, stored: Stored| timed(&case(expression, text(stored)), 50).0;
    let (mega, eleven) = (1 << 20, 11 << 20);
    assert!(limit("len(s)", Stored::Utf16(vec![0x61; mega])).is_ok());
    for expression in ["len(s)", "substring(s, 0, 1)"] {
        let outcome = limit(expression, Stored::Utf16(vec![0x61; mega + 1]));
        assert_eq!(outcome.unwrap_err(), Failure::Limit(Limit::CountedText));
        assert!(limit(expression, Stored::Utf8("a".repeat(eleven))).is_ok());
    }
    for stored in
        [Stored::Utf8("a".repeat(eleven)), Stored::Ucs4(vec![0x61; eleven]), Stored::Latin1(vec![0xE9; 6 << 20])]
    {
        assert_eq!(limit("matches(s, 'b')", stored).unwrap_err(), Failure::Limit(Limit::MatchedText));
    }
    assert!(matches!(limit("matches(s, '^.$')", Stored::Ucs2(vec![0xD800])), Ok(Made::Bool(true))));
    assert!(matches!(limit("len(s) == 2 && s == s", Stored::Utf16(vec![0xD800, 0x61])), Ok(Made::Bool(true))));
}

#[test]
fn failures_say_what_but_never_show_a_value() {
    let said = |text: &str, vars: &str| {
        let case = case(text, world(vars));
        let failure = timed(&case, 50).0.unwrap_err();
        let type_name = |_: u32| "Employee".to_owned();
        let expression = case.compiled.as_ref().unwrap();
        failure.text(&Names { expression, symbols: &case.symbols, type_name: &type_name, milliseconds: 50 })
    };
    let object = r#"{"o": {"$object": {"class": "Employee", "fields": {}, "getters": ["rate"]}}}"#;
    assert_eq!(said("user", "{}"), "No such variable: 'user'");
    assert_eq!(said("@return", "{}"), "'@return' is not available here");
    assert_eq!(said("o.salary", object), "'Employee' has no member 'salary'");
    assert_eq!(said("o.rate", object), "Reading 'rate' would run application code");
    assert_eq!(said("m['cup']", r#"{"m": {}}"#), "No entry for key \"cup\"");
    assert_eq!(said("m.cup", r#"{"m": {}}"#), "No entry for key \"cup\"");
    assert_eq!(said("m[k]", r#"{"m": {}, "k": "4711"}"#), "No entry for the computed key");
    assert_eq!(said("l[7]", r#"{"l": [1, 2, 3]}"#), "Position 7 is outside the list of 3 elements");
    assert_eq!(said("p.name", r#"{"p": null}"#), "Cannot read member 'name' of null");
    assert_eq!(said("len(p)", r#"{"p": null}"#), "len of null");
    assert_eq!(said("any(p, {true})", r#"{"p": {"$undefined": true}}"#), "any over undefined");
    assert_eq!(said("s < 1", r#"{"s": "4711"}"#), "Cannot compare string with number");
    assert_eq!(said("len(n)", r#"{"n": 4711}"#), "len is not possible for number");
    assert_eq!(said("l['a']", r#"{"l": [1]}"#), "Position must be a whole number");
    assert_eq!(said("substring('abcdef', 4, 1)", "{}"), "substring from 4 to 1 is not a valid range");
    assert_eq!(said("substring('abcdef', -1)", "{}"), "substring from -1 to the end is not a valid range");
    assert_eq!(said("substring('abcdef', -1, 1)", "{}"), "substring from -1 to 1 is not a valid range");
    let refused = said("matches('a', p)", r#"{"p": "a++"}"#);
    assert_eq!(refused, "Unsupported regular expression: possessive quantifiers ('a++') are not supported");
    let refused = said("matches('a', p)", r#"{"p": "4711["}"#);
    assert!(refused.starts_with("Unsupported regular expression: ") && !refused.contains("4711"), "{refused}");
    assert_eq!(said("any(g, {true})", r#"{"g": {"$iterator": true}}"#), "Cannot walk a one-pass iterator");
    let redacted = "Could not evaluate the expression because 'password' was redacted";
    assert_eq!(said("u.password", r#"{"u": {}}"#), redacted);
    assert_eq!(said("u[k]", r#"{"u": {}, "k": "password"}"#), redacted);
}

#[test]
fn bytes_that_no_failure_wrote_are_refused() {
    let mut bytes = Vec::new();
    Failure::Position(-7, 3).encode(&mut bytes);
    for cut in 0..bytes.len() {
        assert_eq!(Failure::decode(&mut &bytes[..cut]), None);
    }
    for tag in 0..=u8::MAX {
        let mut strange = vec![tag];
        strange.extend([0xFF; 16]);
        strange.push(2);
        strange.extend(*b"ok");
        let mut rest = strange.as_slice();
        if Failure::decode(&mut rest).is_some() {
            assert!(rest.is_empty());
        }
    }
    let mut long = vec![26];
    long.extend([0; 16]);
    long.push(200);
    long.extend([b'a'; 200]);
    assert_eq!(Failure::decode(&mut long.as_slice()), None);
}

#[test]
fn what_cannot_be_read_is_never_silently_unequal() {
    let vars = r#"{"x": {"$unreadable": true}, "l": [{"$unreadable": true}, 1], "n": [1, {"$unreadable": true}]}"#;
    let outcome = |text: &str| timed(&case(text, world(vars)), 50).0;
    let refused = [
        "x == 1",
        "1 != x",
        "x == x",
        "x < 1",
        "!x",
        "x && true",
        "len(x)",
        "count(x)",
        "isEmpty(x)",
        "x[0]",
        "l[x]",
        "contains(x, 1)",
        "contains(l, 1)",
        "contains(n, x)",
        "startsWith(x, \"a\")",
        "startsWith(\"a\", x)",
        "matches(x, \"a\")",
        "substring(x, 0)",
        "substring(\"a\", x)",
        "any(x, {true})",
        "any(l, {@it == 1})",
        "all(l, {@it})",
        "filter(l, {@it})",
        "l == n",
        "n != l",
        "l[0] == 1",
        "x.name",
        "any(l, {@it})",
    ];
    for text in refused {
        let failure = outcome(text).expect_err(text);
        assert_eq!(failure, Failure::host("it cannot be read"), "{text}");
    }
    let decided = [
        ("x == null", false),
        ("null != x", true),
        ("isDefined(x)", false),
        ("isUndefined(l[0])", true),
        ("isDefined(l[1])", true),
        ("contains(n, 1)", true),
        ("l == 1", false),
        ("len(l) == 2", true),
        ("any(l, {isDefined(@it) && @it == 1})", true),
        ("false && x", false),
        ("x instanceof \"nosuch\"", false),
    ];
    for (text, expected) in decided {
        let found = outcome(text).expect(text);
        assert!(matches!(found, Made::Bool(found) if found == expected), "{text}: {found:?}");
    }
    let held = |text: &str| {
        let case = case(text, world(vars));
        let (clock, mut scratch) = (Counting::default(), Scratch::default());
        let mut budget = Budget::new(&clock, 50_000_000, &case.redaction, &mut scratch);
        let place = Place(&case.world);
        let scope = Scope { frame: &place, returned: None, exception: None, duration: None };
        eval::holds(case.compiled.as_ref().unwrap(), &case.symbols, &scope, &mut budget)
    };
    assert!(held("x").is_err(), "a condition that is such a value");
}
