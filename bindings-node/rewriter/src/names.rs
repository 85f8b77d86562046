//! What a function is called: by itself, or by what it is assigned to.

use crate::read::Function;
use oxc_ast::ast::{AssignmentTarget, BindingPattern, Expression, PropertyKey};

/// The name that the place of a function gives it, from the outside in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hint {
    pub path: Vec<String>,
    /// It is a member of a class.
    pub of_class: bool,
}

impl Hint {
    pub fn of(name: &str) -> Hint {
        Hint { path: vec![name.to_owned()], of_class: false }
    }

    pub fn member(&self, key: String) -> Hint {
        let mut path = self.path.clone();
        path.push(key);
        Hint { path, of_class: self.of_class }
    }

    /// The bare name.
    pub fn name(&self) -> String {
        self.path.last().cloned().unwrap_or_default()
    }

    /// The whole name, without what all members of a class or module have in common.
    pub fn qualified(&self) -> String {
        let common = |at: usize, part: &str| {
            let last = at + 1 == self.path.len();
            !last && (part == "prototype" || (at == 0 && matches!(part, "exports" | "this")) || part.is_empty())
        };
        let parts = self.path.iter().enumerate().filter(|(at, part)| !common(*at, part));
        parts.map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// The name of a variable that something is assigned to as it is declared.
pub(crate) fn of_pattern(pattern: &BindingPattern<'_>) -> Option<Hint> {
    match pattern {
        BindingPattern::BindingIdentifier(name) => Some(Hint::of(&name.name)),
        _ => None,
    }
}

/// The name of what something is assigned to.
pub(crate) fn of_target(target: &AssignmentTarget<'_>) -> Option<Hint> {
    match target {
        AssignmentTarget::AssignmentTargetIdentifier(name) => Some(Hint::of(&name.name)),
        AssignmentTarget::StaticMemberExpression(member) => {
            Some(path(&member.object).unwrap_or_default().member(member.property.name.to_string()))
        }
        AssignmentTarget::ComputedMemberExpression(member) => {
            let key = literal(&member.expression)?;
            Some(path(&member.object).unwrap_or_default().member(key))
        }
        _ => None,
    }
}

fn literal(expression: &Expression<'_>) -> Option<String> {
    match expression {
        Expression::StringLiteral(text) => Some(text.value.to_string()),
        _ => None,
    }
}

fn path(expression: &Expression<'_>) -> Option<Hint> {
    match expression {
        Expression::Identifier(name) if name.name == "module" => Some(Hint::default()),
        Expression::Identifier(name) => Some(Hint::of(&name.name)),
        Expression::ThisExpression(_) => Some(Hint::of("this")),
        Expression::StaticMemberExpression(member) => {
            Some(path(&member.object)?.member(member.property.name.to_string()))
        }
        _ => None,
    }
}

/// The name that a key gives.
pub(crate) fn of_key(key: &PropertyKey<'_>) -> Option<String> {
    match key {
        PropertyKey::StaticIdentifier(name) => Some(name.name.to_string()),
        PropertyKey::PrivateIdentifier(name) => Some(format!("#{}", name.name)),
        PropertyKey::StringLiteral(text) => Some(text.value.to_string()),
        PropertyKey::NumericLiteral(number) => Some(number.value.to_string()),
        _ => None,
    }
}

/// The functions that a method name of a probe means. A getter may be told from the setter of its name: `Class.get name`.
pub(crate) fn named(functions: &[Function], wanted: &str) -> Vec<usize> {
    let found = called(functions, wanted);
    match of_accessor(wanted) {
        Some((accessor, name)) if found.is_empty() => {
            let is = |at: &usize| functions.get(*at).is_some_and(|function| function.accessor == accessor);
            called(functions, &name).into_iter().filter(is).collect()
        }
        _ => found,
    }
}

/// What an accessor is, and its name: of `Class.get name`.
fn of_accessor(wanted: &str) -> Option<(&'static str, String)> {
    let (around, last) = wanted.split_at(wanted.rfind('.').map_or(0, |dot| dot + 1));
    let (accessor, name) = last.split_once(' ')?;
    let accessor = ["get", "set"].into_iter().find(|known| *known == accessor)?;
    Some((accessor, format!("{around}{name}")))
}

/// A bare name means functions of that name; if there is none, members, and then functions that are declared as a variable of that name.
/// One in another may have that one's name before its own.
fn called(functions: &[Function], wanted: &str) -> Vec<usize> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let wanted = wanted.replace(".prototype.", ".").replace(".<locals>.", ".");
    let having = |is: &dyn Fn(&Function) -> bool| -> Vec<usize> {
        let found = functions.iter().enumerate().filter(|(_, function)| !function.is_field() && is(function));
        found.map(|(at, _)| at).collect()
    };
    let whole = having(&|function| function.qualified == wanted);
    if !whole.is_empty() {
        return whole;
    }
    if wanted.contains('.') {
        return having(&|function| nested(functions, function) == wanted);
    }
    let bare = having(&|function| function.name == wanted && !function.of_class);
    if !bare.is_empty() {
        return bare;
    }
    let members = having(&|function| function.name == wanted);
    if members.is_empty() { having(&|function| function.variable == wanted) } else { members }
}

/// The name of a function after those of the functions around it.
fn nested(functions: &[Function], function: &Function) -> String {
    let around = std::iter::successors(Some(function), |inner| inner.parent.and_then(|at| functions.get(at)));
    let mut names: Vec<&str> = around.map(|one| one.qualified.as_str()).filter(|name| !name.is_empty()).collect();
    names.reverse();
    names.join(".")
}
