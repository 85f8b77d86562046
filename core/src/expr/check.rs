//! What is checked of a tree before the first hit: depth, names, places of `@it`, literal patterns, redacted names.
//!
//! It stands on the walk of a configuration going in: `decode.rs` and `text.rs` come before and end with
//! [`structure`]; `mod.rs` asks for the rest.

use super::Invalid;
use super::tree::{Binary, MAX_DEPTH, Node, NodeId, Special, Tree};
use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most bytes that a compiled pattern may take.
const PATTERN_SIZE: usize = 1 << 20;

/// Most literal patterns that one expression keeps compiled, as many as a probe caches of computed ones. A definition
/// may hold a hundred thousand, a megabyte each; those beyond are compiled when they are needed, as computed ones are.
const KEPT_PATTERNS: usize = 64;

/// Deepest nesting inside a pattern, counted by the engine: groups, repetitions, sequences. It compiles by recursion;
/// optimised, this much takes about 128 KiB of stack, and a computed pattern is compiled on the application's.
const PATTERN_DEPTH: u32 = 64;

/// Most characters of a name that an error text shows.
const SHOWN: usize = 64;

/// True if a name begins with a letter, `_` or `$`, and goes on with these and digits.
pub fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(begins_identifier) && chars.all(continues_identifier)
}

/// True if an identifier may begin with the character.
pub(super) fn begins_identifier(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic()
}

/// True if an identifier may go on with the character.
pub(super) fn continues_identifier(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphanumeric()
}

/// The special variable of a name that begins with `@`.
pub(super) fn special(name: &str) -> Result<Special, Invalid> {
    Special::from_name(name).ok_or_else(|| Invalid::new(format_args!("unknown special variable {}", quoted(name))))
}

/// A name in quotes for an error text: cut if it is long, control characters escaped.
pub(super) fn quoted(name: &str) -> String {
    let mut out = "'".to_owned();
    for c in name.chars().take(SHOWN) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push_str(if name.chars().nth(SHOWN).is_some() { "…'" } else { "'" });
    out
}

/// Checks depth, and that `@it`, `@key` and `@value` stand in a predicate.
pub(super) fn structure(tree: &Tree) -> Result<(), Invalid> {
    if depth(tree) > MAX_DEPTH {
        return Err(Invalid::new(format_args!("it is nested deeper than {MAX_DEPTH} levels")));
    }
    let mut inside = vec![false; tree.nodes.len()];
    for id in downwards(tree) {
        let here = inside[id as usize];
        match tree.nodes[id as usize] {
            Node::Special(name) if name.needs_predicate() && !here => {
                return Err(Invalid::new(format_args!("'{}' has a meaning in predicates only", name.name())));
            }
            Node::Quantifier(_, collection, predicate) => {
                inside[collection as usize] = here;
                inside[predicate as usize] = true;
            }
            _ => tree.children(id, |child| inside[child as usize] = here),
        }
    }
    Ok(())
}

/// The number of operators around the innermost operand.
pub(super) fn depth(tree: &Tree) -> usize {
    let mut depths = vec![0_usize; tree.nodes.len()];
    let mut deepest = 0;
    for id in downwards(tree) {
        let here = depths[id as usize];
        deepest = deepest.max(here);
        tree.children(id, |child| depths[child as usize] = here + 1);
    }
    deepest
}

/// Every node, parents before their children.
fn downwards(tree: &Tree) -> impl Iterator<Item = NodeId> {
    (0..tree.nodes.len() as NodeId).rev()
}

/// Compiles the literal patterns of `matches`, and keeps the first [`KEPT_PATTERNS`] of them by the id of their
/// `matches` node. All are checked.
pub(super) fn patterns(tree: &Tree) -> Result<Vec<(NodeId, Regex)>, Invalid> {
    let mut compiled: HashMap<&str, Option<Regex>> = HashMap::new();
    let mut found = Vec::new();
    for (id, node) in (0..).zip(&tree.nodes) {
        let Node::Binary(Binary::Matches, _, right) = node else { continue };
        let Node::Str(text) = tree.nodes[*right as usize] else { continue };
        let source = tree.texts[text as usize].as_str();
        let kept = compiled.len() < KEPT_PATTERNS;
        let regex = match compiled.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let regex = pattern(source)
                    .map_err(|reason| Invalid::new(format_args!("unsupported regular expression: {reason}")))?;
                new.insert(kept.then_some(regex))
            }
        };
        if let Some(regex) = regex {
            found.push((id, regex.clone()));
        }
    }
    Ok(found)
}

/// True if a `+` stands behind a repetition: the engine would take it for a repetition of the repetition, where others mean
/// one that gives nothing back.
fn is_possessive(source: &str) -> bool {
    let mut points = source.chars().peekable();
    let (mut repeated, mut class) = (false, 0_u32);
    while let Some(point) = points.next() {
        let before = std::mem::replace(&mut repeated, false);
        match point {
            '\\' => {
                // The braces behind these belong to them.
                let braced = matches!(points.next(), Some('p' | 'P' | 'x' | 'u' | 'U' | 'b'));
                if braced && points.next_if_eq(&'{').is_some() {
                    points.find(|point| *point == '}');
                }
            }
            '[' => {
                class += 1;
                // A bracket that comes first is a letter.
                points.next_if_eq(&'^');
                points.next_if_eq(&']');
            }
            ']' if class > 0 => class -= 1,
            _ if class > 0 => {}
            '+' if before => return true,
            '*' | '+' | '?' | '}' => repeated = true,
            _ => {}
        }
    }
    false
}

/// Compiles a pattern of `matches` under the limits that hold for every pattern. The error is one line of the engine,
/// without the pattern: a computed pattern could hold a secret.
pub fn pattern(source: &str) -> Result<Regex, String> {
    if is_possessive(source) {
        return Err("possessive quantifiers ('a++') are not supported".to_owned());
    }
    let compiled = RegexBuilder::new(source).size_limit(PATTERN_SIZE).nest_limit(PATTERN_DEPTH).build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes when compiled"),
        // The engine draws the pattern, marks the place, and ends with the line that says what is wrong.
        other => {
            let text = other.to_string();
            let line = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
            line.unwrap_or("the pattern is malformed").to_owned()
        }
    })
}

/// The first name in a tree that is redacted: of a variable, of a member, or a literal key.
pub(super) fn redacted_name<'t>(tree: &'t Tree, redacted: &dyn Fn(&str) -> bool) -> Option<&'t str> {
    tree.nodes.iter().filter_map(|node| name_read(tree, node)).find(|name| redacted(name))
}

/// The name that a node reads.
fn name_read<'t>(tree: &'t Tree, node: &Node) -> Option<&'t str> {
    match *node {
        Node::Ref(symbol) | Node::Member(_, symbol) => Some(&tree.symbols[symbol as usize]),
        Node::Binary(Binary::Index, _, key) => match tree.nodes[key as usize] {
            Node::Str(text) => Some(&tree.texts[text as usize]),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_identifier, pattern, quoted, redacted_name};
    use crate::expr::text::parse;

    #[test]
    fn identifiers_are_letters_digits_underscore_and_dollar() {
        for name in ["a", "_", "$", "a1", "größe", "名前", "$_1", "null"] {
            assert!(is_identifier(name), "{name}");
        }
        for name in ["", "1a", "a b", "a.b", "a-b", "@it", "#x", "a()", "☕", "a\n", "\u{feff}a"] {
            assert!(!is_identifier(name), "{name}");
        }
    }

    #[test]
    fn names_in_errors_are_short_and_on_one_line() {
        assert_eq!(quoted("größe"), "'größe'");
        assert_eq!(quoted("a\nb\u{0}"), r"'a\nb\u{0}'");
        assert_eq!(quoted(&"é".repeat(64)), format!("'{}'", "é".repeat(64)));
        assert_eq!(quoted(&"é".repeat(65)), format!("'{}…'", "é".repeat(64)));
    }

    #[test]
    fn a_pattern_is_refused_in_one_line_without_showing_it() {
        assert_eq!(pattern("secret(").unwrap_err(), "unclosed group");
        assert!(pattern("a(?=b)").unwrap_err().contains("look-around"));
        assert!(pattern(r"(a)\1").unwrap_err().contains("backreferences"));
        assert_eq!(pattern("a{1000}{1000}").unwrap_err(), "it takes more than 1048576 bytes when compiled");
        for refused in ["secret\n(", "(?x) secret \n [", "*secret", "secret{2,1}", r"\p{secret}", "[z-a]secret"] {
            let error = pattern(refused).unwrap_err();
            assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
        }
        assert!(pattern("(?i)^MUG$").unwrap().is_match("mug"));
    }

    #[test]
    fn possessive_quantifiers_are_refused_and_what_looks_like_them_is_not() {
        for refused in [
            "a++",
            "a*+",
            "a?+b",
            "a{2}+",
            "(?i)^a{1,2}+$",
            r"\d{2}+",
            r"[]+]++",
            "[[:alpha:]+]*+",
            r"\\++",
            "(ab)++",
            "a+?+",
        ] {
            assert_eq!(pattern(refused).unwrap_err(), "possessive quantifiers ('a++') are not supported", "{refused}");
        }
        for taken in [
            "a+",
            "(?:a+)+",
            r"a\++",
            r"\p{L}+",
            r"\x{41}+",
            r"\pL+",
            "[*+]+",
            "[]*+]",
            r"[\]*+]",
            "[^]*+]",
            "[a&&[*+]]",
            "a+?",
        ] {
            assert!(pattern(taken).is_ok(), "{taken}");
        }
    }

    #[test]
    fn redacted_names_are_variables_members_and_literal_keys() {
        let found = |text: &str| {
            let tree = parse(text).unwrap();
            redacted_name(&tree, &|name| name.eq_ignore_ascii_case("password")).map(str::to_owned)
        };
        for text in [
            "passWord",
            "user.passWord",
            "user['passWord']",
            "isDefined(user.passWord)",
            "false && passWord == 1",
            "any(l, {@it.passWord == 1})",
            "substring(s, 0, passWord)",
        ] {
            assert_eq!(found(text).as_deref(), Some("passWord"), "{text}");
        }
        for text in ["name == 'password'", "user[k]", "password1", "x instanceof 'password'", "user['password' == k]"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
