//! What is told of a module to people who write probes: its classes, functions and variables, and the places where a probe can
//! be. Made of the tables of a module that was read; on none of its ways.

use crate::read::{Module, Statement};
use oxc_syntax::scope::ScopeId;
use oxc_syntax::symbol::{SymbolFlags, SymbolId};
use rustc_hash::FxHashMap;

/// A place in the text: a line from 1, and a column of it from 1.
pub type At = (u32, u32);

/// What a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineKind {
    /// A class.
    Class,
    /// A function or method.
    Function,
    /// A function in another.
    Closure,
}

/// A class or function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineScope {
    /// What it is.
    pub kind: OutlineKind,
    /// Its name, of a member without that of its class; empty for one without.
    pub name: String,
    /// The scope around it, by its place in the list, which is before its own.
    pub parent: Option<usize>,
    /// Where it begins.
    pub begin: At,
    /// The line at which it ends.
    pub last: u32,
    /// Its parameters.
    pub arguments: Vec<String>,
    /// Its variables, and where they are declared.
    pub locals: Vec<(String, At)>,
    /// The fields of a class, where they are declared, and whether they are of the class itself.
    pub fields: Vec<(String, At, bool)>,
    /// Where a probe of a line can be.
    pub places: Vec<At>,
    /// The class that it extends.
    pub extends: Option<String>,
    /// It is `async`.
    pub is_async: bool,
    /// It is a generator.
    pub is_generator: bool,
    /// It is read or set as a variable is.
    pub is_accessor: bool,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The variables at its top, and where they are declared.
    pub variables: Vec<(String, At)>,
    /// Where a probe of a line can be, outside of functions.
    pub places: Vec<At>,
    /// What is in it, each after what is around it.
    pub scopes: Vec<OutlineScope>,
}

/// Something with a name that holds others.
struct Block {
    from: u32,
    to: u32,
    what: What,
}

enum What {
    Class(usize),
    Function(usize),
}

impl Module {
    /// What is told of it.
    pub fn outline(&self) -> Outline {
        let mut outline = Outline {
            variables: Vec::new(),
            places: self.places(&self.top_level),
            scopes: Vec::with_capacity(self.functions.len() + self.classes.len()),
        };
        // Where each function is among the scopes; `None`: the top of the module.
        let mut numbers: Vec<Option<usize>> = vec![None; self.functions.len()];
        let mut around: Vec<(u32, Option<usize>)> = Vec::new();
        for block in self.blocks() {
            while around.last().is_some_and(|(to, _)| *to <= block.from) {
                around.pop();
            }
            let parent = around.last().and_then(|(_, scope)| *scope);
            let number = match block.what {
                What::Class(at) => {
                    outline.scopes.push(self.class(at, parent));
                    Some(outline.scopes.len() - 1)
                }
                // The value of a field is no function that anybody knows: what is in it is the class's.
                What::Function(at) if self.functions[at].is_field() => {
                    let places = self.places(&self.functions[at].statements);
                    outline.places_of(parent).extend(places);
                    numbers[at] = parent;
                    parent
                }
                What::Function(at) => {
                    let is_closure = parent.is_some_and(|parent| outline.scopes[parent].kind != OutlineKind::Class);
                    outline.scopes.push(self.function(at, parent, is_closure));
                    numbers[at] = Some(outline.scopes.len() - 1);
                    numbers[at]
                }
            };
            around.push((block.to, number));
        }
        self.variables(&numbers, &mut outline);
        outline
    }

    /// The classes and functions in the order of the text, those around before those in them.
    fn blocks(&self) -> Vec<Block> {
        let functions = self.functions.iter().enumerate();
        let functions = functions.map(|(at, of)| Block { from: of.start, to: of.body.1, what: What::Function(at) });
        let classes = self.classes.iter().enumerate();
        let classes = classes.map(|(at, of)| Block { from: of.span.0, to: of.span.1, what: What::Class(at) });
        let mut blocks: Vec<Block> = classes.chain(functions).collect();
        blocks.sort_by_key(|block| (block.from, std::cmp::Reverse(block.to)));
        blocks
    }

    fn class(&self, at: usize, parent: Option<usize>) -> OutlineScope {
        let class = &self.classes[at];
        let fields = class.fields.iter().map(|(name, at, is_static)| (name.clone(), self.at(*at), *is_static));
        OutlineScope {
            fields: fields.collect(),
            extends: class.extends.clone(),
            last: self.lines.line(class.span.1),
            ..OutlineScope::new(OutlineKind::Class, class.name.clone(), parent, self.at(class.span.0))
        }
    }

    fn function(&self, at: usize, parent: Option<usize>, is_closure: bool) -> OutlineScope {
        let function = &self.functions[at];
        let kind = if is_closure { OutlineKind::Closure } else { OutlineKind::Function };
        let is_member = function.of_class || function.qualified.is_empty();
        let name = if is_member { &function.name } else { &function.qualified };
        let places = if function.why_not.is_none() { self.places(&function.statements) } else { Vec::new() };
        OutlineScope {
            last: function.last,
            arguments: function.params.clone(),
            places,
            is_async: function.nature.is_async,
            is_generator: function.nature.generator,
            is_accessor: !function.accessor.is_empty(),
            ..OutlineScope::new(kind, name.clone(), parent, self.at(function.start))
        }
    }

    /// Each variable goes to the innermost function around it.
    fn variables(&self, numbers: &[Option<usize>], outline: &mut Outline) {
        let own = self.functions.iter().zip(numbers).filter(|(function, _)| !function.is_field());
        let functions: FxHashMap<ScopeId, Option<usize>> = own.map(|(of, number)| (of.scope, *number)).collect();
        let mut symbols: Vec<SymbolId> = self.scoping.symbol_ids().collect();
        symbols.sort_unstable_by_key(|symbol| self.scoping.symbol_span(*symbol).start);
        for symbol in symbols {
            // Functions and classes are scopes themselves.
            if self
                .scoping
                .symbol_flags(symbol)
                .intersects(SymbolFlags::Function | SymbolFlags::FunctionExpression | SymbolFlags::Class)
            {
                continue;
            }
            let mut scopes = self.scoping.scope_ancestors(self.scoping.symbol_scope_id(symbol));
            let function = scopes.find_map(|scope| functions.get(&scope).copied()).flatten();
            let variable =
                (self.scoping.symbol_name(symbol).to_owned(), self.at(self.scoping.symbol_span(symbol).start));
            match function.and_then(|number| outline.scopes.get_mut(number)) {
                Some(scope) if scope.arguments.contains(&variable.0) => {}
                Some(scope) => scope.locals.push(variable),
                None => outline.variables.push(variable),
            }
        }
    }

    fn places(&self, statements: &[Statement]) -> Vec<At> {
        let sites = statements.iter().filter_map(|statement| self.sites.get(statement.site as usize));
        sites.map(|site| self.at(site.at)).collect()
    }

    fn at(&self, offset: u32) -> At {
        (self.lines.line(offset), self.lines.column(&self.text, offset) + 1)
    }
}

impl Outline {
    fn places_of(&mut self, scope: Option<usize>) -> &mut Vec<At> {
        match scope.and_then(|scope| self.scopes.get_mut(scope)) {
            Some(scope) => &mut scope.places,
            None => &mut self.places,
        }
    }
}

impl OutlineScope {
    fn new(kind: OutlineKind, name: String, parent: Option<usize>, begin: At) -> OutlineScope {
        OutlineScope {
            kind,
            name,
            parent,
            begin,
            last: begin.0,
            arguments: Vec::new(),
            locals: Vec::new(),
            fields: Vec::new(),
            places: Vec::new(),
            extends: None,
            is_async: false,
            is_generator: false,
            is_accessor: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::SourceKind;

    fn outline(text: &str) -> Outline {
        Module::read(text, SourceKind::CommonJs).expect("it can be read").outline()
    }

    fn scope<'o>(outline: &'o Outline, name: &str) -> &'o OutlineScope {
        outline.scopes.iter().find(|scope| scope.name == name).expect(name)
    }

    #[test]
    fn classes_functions_and_their_variables_are_told() {
        let text = "const rate = 2\n\
            class Cart extends shop.Base {\n  items = []\n  static open = 0\n  constructor(owner) {\n    super()\n    this.owner = owner\n  }\n\
            \x20 get size() { return this.items.length }\n\
            \x20 async *total(by, { tax = 1 }) {\n    let sum = 0\n    for (const item of this.items) {\n      sum += item\n    }\n\
            \x20   const more = (x) => x + sum\n    yield more(tax)\n  }\n}\n\
            function free() { var late; late = rate }\n";
        let outline = outline(text);
        assert_eq!(outline.variables, [("rate".to_owned(), (1, 7))]);
        assert_eq!(outline.places.iter().map(|at| at.0).collect::<Vec<_>>()[..2], [1, 2]);
        let class = scope(&outline, "Cart");
        assert_eq!((class.kind, class.begin, class.last), (OutlineKind::Class, (2, 1), 18));
        assert_eq!(class.extends.as_deref(), Some("shop.Base"));
        let fields: Vec<(&str, u32, bool)> = class.fields.iter().map(|(name, at, own)| (&**name, at.0, *own)).collect();
        assert_eq!(fields, [("items", 3, false), ("open", 4, true)]);
        let total = scope(&outline, "total");
        assert_eq!((total.kind, total.parent, total.begin.0, total.last), (OutlineKind::Function, Some(0), 10, 17));
        assert_eq!(total.arguments, ["by", "tax"]);
        assert_eq!(
            total.locals.iter().map(|(name, at)| (&**name, at.0)).collect::<Vec<_>>(),
            [("sum", 11), ("item", 12), ("more", 15)]
        );
        assert_eq!(total.places.iter().map(|at| at.0).collect::<Vec<_>>(), [11, 12, 13, 15, 16]);
        assert!(total.is_async && total.is_generator && scope(&outline, "size").is_accessor);
        let more = scope(&outline, "more");
        assert_eq!((more.kind, more.arguments.clone()), (OutlineKind::Closure, vec!["x".to_owned()]));
        assert_eq!(outline.scopes[more.parent.expect("a parent")].name, "total");
        let free = scope(&outline, "free");
        assert_eq!((free.parent, free.locals[0].0.as_str()), (None, "late"));
        assert_eq!(scope(&outline, "constructor").arguments, ["owner"]);
    }

    #[test]
    fn what_has_no_name_and_what_a_field_holds_have_their_places() {
        let outline = outline(
            "class A {\n  f = () => {\n    go()\n  }\n  g = run(() => 1)\n}\n[1].map(function () { return 2 })\n",
        );
        let class = outline.scopes.iter().position(|scope| scope.name == "A");
        assert_eq!(scope(&outline, "f").parent, class);
        assert!(outline.scopes.iter().any(|scope| scope.name.is_empty() && scope.parent == class));
        assert!(outline.scopes.iter().any(|scope| scope.name.is_empty() && scope.parent.is_none()));
    }
}
