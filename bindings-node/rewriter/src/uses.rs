//! The walk over the tree: functions, sites, and each use of a name that means something outside of a function around it,
//! with what stands in its place in a variant. Called by `read.rs`.

use crate::names::{self, Hint};
use crate::read::{
    Act, Class, ClassShape, Context, Function, FunctionKind, NONE, Nature, Part, Place, Reader, ReturnPart, SitePart,
    Spot, head_end,
};
use crate::slot::SlotKind;
use crate::text::quoted;
use oxc_ast::ast::{
    AccessorProperty, Argument, ArrowFunctionBody, ArrowFunctionExpression, AssignmentExpression, AssignmentTarget,
    AssignmentTargetPropertyIdentifier, AssignmentTargetWithDefault, AwaitExpression, BindingIdentifier,
    BindingPattern, CallExpression, ChainExpression, ClassElement, ComputedMemberExpression, Declaration,
    DoWhileStatement, ExportDefaultDeclarationKind, Expression, ForOfStatement, FormalParameters, FunctionBody,
    IdentifierReference, ImportExpression, ImportMeta, MemberExpression, MethodDefinition, MethodDefinitionKind,
    NewExpression, NewTarget, ObjectExpression, ObjectProperty, ObjectPropertyKind, PrivateFieldExpression,
    PrivateInExpression, PropertyDefinition, PropertyKey, PropertyKind, ReturnStatement, SimpleAssignmentTarget,
    Statement, StaticBlock, SwitchStatement, TaggedTemplateExpression, ThisExpression, UnaryExpression,
    UpdateExpression, VariableDeclaration, VariableDeclarationKind, VariableDeclarator, WhileStatement, WithStatement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};
use oxc_syntax::operator::{AssignmentOperator, UnaryOperator, UpdateOperator};
use oxc_syntax::scope::{ScopeFlags, ScopeId};
use oxc_syntax::symbol::{SymbolFlags, SymbolId};
use std::cell::Cell;

const EVAL: &str = "it calls eval, which can see and make variables that only the run knows";
const WITH: &str = "it has to do with a `with` statement, in which only the run knows what a name means";
const NAMES: &str = "it uses a name that begins with `$s_`, or `$s`, which the code of probes needs";
const CALLEE: &str = "it uses arguments.callee";
const OWN_ARGUMENTS: &str = "it declares a variable of the name arguments";
const PARAMETERS: &str = "a function in the default values of its parameters uses a parameter";
const CHAIN: &str = "it uses a private name or super in an optional chain";
const TAG: &str = "it uses a private name or super as the tag of a template";
const DELETE: &str = "it deletes a variable";
const DEFAULT: &str = "it assigns to a variable around it by destructuring, with a function as the default value";
const SUPER: &str = "it writes to a computed member of super";
const CONSTANT: &str = "it is a field whose value runs no code, and such have no test for probes";
const ASM: &str = "it is written in asm.js";

/// So many private fields of a class can be read by probes: each guard in the class names them.
const FIELDS: usize = 64;

/// A variable, as a use means it.
struct Meaning<'n> {
    symbol: Option<SymbolId>,
    name: &'n str,
    owner: u32,
}

impl<'m> Reader<'m> {
    fn slice(&self, span: Span) -> &'m str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    fn slot(&mut self, kind: SlotKind, owner: u32) -> Part {
        Part::Slot(self.slots.number(kind, owner))
    }

    fn outer(&mut self, at: u32, end: u32, owner: u32, parts: Vec<Part>) {
        for part in &parts {
            if let Part::Slot(slot) | Part::Value(slot) = part {
                self.need(at, owner, *slot);
            }
        }
        self.mark(at, end, Act::Outer { owner, parts });
    }

    fn close(&mut self, at: u32, end: u32, owner: u32, text: &'static str) {
        self.outer(at, end, owner, vec![Part::Text(text)]);
    }

    /// Where what a scope declares begins: nothing inside of the function whose scope it is has it outside of itself.
    fn owner_of_scope(&self, scope: ScopeId) -> Option<u32> {
        for scope in self.scoping.scope_ancestors(scope) {
            let function = self.scope_functions.get(scope.index()).copied().unwrap_or(NONE);
            if let Some(function) = self.functions.get(function as usize) {
                return Some(function.start + 1);
            }
        }
        None
    }

    /// What an identifier means, if that is outside of the innermost function around it.
    fn meaning<'n>(&mut self, it: &'n IdentifierReference<'_>) -> Option<Meaning<'n>> {
        let innermost = self.innermost()?;
        let symbol = it.reference_id.get().and_then(|id| self.scoping.get_reference(id).symbol_id());
        let name = it.name.as_str();
        if name == "$s" || name.starts_with("$s_") {
            self.refuse(0, NAMES);
        }
        let Some(symbol) = symbol else {
            let wrapped = self.kind.parameters().contains(&name);
            return wrapped.then_some(Meaning { symbol: None, name, owner: 0 });
        };
        let scope = self.scoping.symbol_scope_id(symbol);
        let owner = match self.owner_of_scope(scope) {
            None if self.kind == crate::SourceKind::Script => return None,
            None => 0,
            // The name of a function expression stands outside of what it names.
            Some(owner) if self.scoping.symbol_flags(symbol).contains(SymbolFlags::FunctionExpression) => owner - 1,
            Some(owner) => owner,
        };
        if owner > self.functions[innermost].start {
            return None;
        }
        self.parameter_in_default(it.span.start, owner);
        Some(Meaning { symbol: Some(symbol), name, owner })
    }

    /// A function in the parameters of another keeps the parameters themselves; a variant has copies.
    fn parameter_in_default(&mut self, at: u32, owner: u32) {
        for around in 0..self.contexts.len().saturating_sub(1) {
            let Context::Function(number) = self.contexts[around] else { continue };
            let function = &mut self.functions[number];
            if function.start + 1 == owner && at < function.body.0 {
                function.why_not.get_or_insert(PARAMETERS);
            }
        }
    }

    fn read(&mut self, meaning: &Meaning<'_>) -> u32 {
        match meaning.symbol {
            Some(symbol) => self.slots.reader(symbol, meaning.name, meaning.owner),
            None => self.slots.number(SlotKind::Read(None, meaning.name.to_owned()), meaning.owner),
        }
    }

    fn write(&mut self, meaning: &Meaning<'_>) -> Part {
        self.slot(SlotKind::Write(meaning.symbol, meaning.name.to_owned()), meaning.owner)
    }

    /// A use that is a call of its slot.
    fn call_of(&mut self, span: Span, owner: u32, slot: u32) {
        if !self.is_for_probes() {
            return self.need(span.start, owner, slot);
        }
        let parts = if self.new_base == Some(span.start) {
            vec![Part::Text("("), Part::Value(slot), Part::Text(")")]
        } else {
            vec![Part::Value(slot)]
        };
        self.outer(span.start, span.end, owner, parts);
    }

    /// The function that binds `arguments` and `new.target` here, if one does; `None` in a field or static block.
    fn binder(&self) -> Option<usize> {
        for context in self.contexts.iter().rev() {
            match *context {
                Context::Class => return None,
                Context::Function(at) if !self.functions[at].nature.arrow => return Some(at),
                Context::Function(_) => {}
            }
        }
        None
    }

    /// Notes for the functions from here out to the one that binds it that something of the call is used.
    fn note(&mut self, note: impl Fn(&mut Nature)) {
        for context in self.contexts.iter().rev() {
            let Context::Function(at) = *context else { return };
            note(&mut self.functions[at].nature);
            if !self.functions[at].nature.arrow {
                return;
            }
        }
    }

    fn arguments(&mut self, span: Span) {
        self.note(|nature| nature.arguments = true);
        let in_class = self
            .contexts
            .iter()
            .rev()
            .find(|context| !matches!(context, Context::Function(at) if self.functions[*at].nature.arrow));
        let owner = match in_class {
            Some(Context::Function(at)) => self.functions[*at].start,
            None if self.kind.is_body() => 0,
            _ => return,
        };
        let slot = self.slots.number(SlotKind::Arguments, owner);
        self.call_of(span, owner, slot);
    }

    /// The constructor of a class that extends another whose `this` this is, if it is one's.
    fn derived(&self) -> Option<u32> {
        let at = self.binder()?;
        let function = &self.functions[at];
        function.nature.derived.then_some(function.start)
    }

    /// Where the class or object begins whose `super` this is.
    fn home(&self) -> u32 {
        for context in self.contexts.iter().rev() {
            match *context {
                Context::Class => return self.classes.last().map_or(0, |class| class.start),
                Context::Function(at) if !self.functions[at].nature.arrow => return self.functions[at].start,
                Context::Function(_) => {}
            }
        }
        0
    }

    /// `this` as text of parts.
    fn this_parts(&mut self) -> Vec<Part> {
        self.note(|nature| nature.this = true);
        match self.derived() {
            Some(owner) => vec![Part::Value(self.slots.number(SlotKind::This, owner))],
            None => vec![Part::Text("this")],
        }
    }

    /// Where the class begins that declares a private name.
    fn private_owner(&self, name: &str) -> u32 {
        let declares = |class: &&Class| class.privates.iter().any(|private| private == name);
        self.classes.iter().rev().find(declares).map_or(0, |class| class.start)
    }

    fn assign(&mut self, it: &AssignmentExpression<'_>, name: &IdentifierReference<'_>) -> bool {
        let Some(meaning) = self.meaning(name) else { return false };
        let owner = meaning.owner;
        let (start, value) = (it.span.start, it.right.span());
        let anonymous = is_anonymous_function(&it.right);
        let write = self.write(&meaning);
        let (open, close) = match it.operator {
            AssignmentOperator::Assign if anonymous => {
                // The name that the assignment gives the function.
                let key = quoted(meaning.name);
                (vec![write, Part::Owned(format!("({{[{key}]:"))], Part::Owned(format!("}}[{key}])")))
            }
            AssignmentOperator::Assign => (vec![write, Part::Text("(")], Part::Text(")")),
            AssignmentOperator::LogicalAnd | AssignmentOperator::LogicalOr | AssignmentOperator::LogicalNullish => {
                if anonymous {
                    self.refuse(owner, DEFAULT);
                }
                let read = self.read(&meaning);
                let operator = it.operator.as_str();
                let parts = vec![
                    Part::Text("$s_w("),
                    Part::Slot(read),
                    Part::Text(","),
                    write,
                    Part::Text(").v"),
                    Part::Text(operator),
                ];
                (parts, Part::Text(""))
            }
            operator => {
                let read = self.read(&meaning);
                let sign = operator.as_str().trim_end_matches('=');
                (vec![write, Part::Text("("), Part::Value(read), Part::Text(sign), Part::Text("(")], Part::Text("))"))
            }
        };
        self.outer(start, value.start, owner, open);
        self.visit_expression(&it.right);
        self.outer(value.end, value.end, owner, vec![close]);
        true
    }

    /// What can be assigned to, in the place of a variable: for destructuring, loops and the rest.
    fn reference(&mut self, meaning: &Meaning<'_>) -> Vec<Part> {
        let (read, write) = (Part::Slot(self.read(meaning)), self.write(meaning));
        vec![Part::Text("$s_w("), read, Part::Text(","), write, Part::Text(").v")]
    }

    fn target(&mut self, it: &IdentifierReference<'_>) {
        if let Some(meaning) = self.meaning(it) {
            let parts = self.reference(&meaning);
            self.outer(it.span.start, it.span.end, meaning.owner, parts);
        }
    }

    /// Gives what it stands for a hint, unless a function stands deeper.
    fn with_hint(&mut self, value: &Expression<'_>, hint: impl FnOnce(&Self) -> Option<Hint>) {
        self.hint = if self.is_named(value) { hint(self) } else { None };
        self.visit_expression(value);
        self.hint = None;
    }

    /// The name that a function or class gives itself.
    fn own_name(&self, id: Option<&BindingIdentifier<'_>>) -> Option<Hint> {
        id.filter(|_| self.is_for_probes()).map(|id| Hint::of(&id.name))
    }

    /// True for a value that its place gives a name, or in which things have names by it.
    fn is_named(&self, value: &Expression<'_>) -> bool {
        let takes_a_name = matches!(
            unwrapped(value),
            Expression::FunctionExpression(_)
                | Expression::ArrowFunctionExpression(_)
                | Expression::ClassExpression(_)
                | Expression::ObjectExpression(_)
        );
        takes_a_name && self.is_for_probes()
    }

    /// A class, as far as it is told to people.
    fn class_shape(&self, it: &oxc_ast::ast::Class<'_>, name: &Hint) -> ClassShape {
        let fields = it.body.body.iter().filter_map(|element| match element {
            ClassElement::PropertyDefinition(field) => {
                Some((names::of_key(&field.key)?, field.span.start, field.r#static))
            }
            _ => None,
        });
        let fields = fields.collect();
        let extends = it.heritage.as_ref().map(|heritage| heritage.expression.span());
        let text = |span: Span| self.text.get(span.start as usize..span.end as usize).map(str::to_owned);
        let is_name = |text: &String| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'));
        let extends = extends.and_then(text).filter(is_name);
        ClassShape { span: (it.span.start, it.span.end), name: name.name(), extends, fields }
    }

    fn enter_function(&mut self, function: Function) -> usize {
        let at = self.functions.len();
        // The scope of a field is that of its class.
        let is_own = !function.nature.field;
        if let Some(of_scope) = self.scope_functions.get_mut(function.scope.index()).filter(|_| is_own) {
            *of_scope = at as u32;
        }
        self.functions.push(function);
        self.unclear_in.push(None);
        self.contexts.push(Context::Function(at));
        at
    }

    fn make_function(&mut self, span: Span, scope: Option<ScopeId>, hint: Option<Hint>) -> Function {
        let hint = hint.unwrap_or_default();
        let scope = scope.unwrap_or_else(|| ScopeId::new(0));
        let line = |at| if self.is_for_probes() { self.lines.line(at) } else { 0 };
        Function {
            name: hint.name(),
            qualified: hint.qualified(),
            variable: String::new(),
            accessor: "",
            kind: FunctionKind::Function,
            parent: self.innermost(),
            first: line(span.start),
            last: line(span.end),
            why_not: None,
            statements: Vec::new(),
            of_class: hint.of_class,
            nature: Nature { strict: self.scoping.scope_flags(scope).is_strict_mode(), ..Nature::default() },
            start: span.start,
            body: (span.end, span.end),
            guard_at: span.start,
            params: Vec::new(),
            scope,
            slots: Vec::new(),
        }
    }

    fn set_parameters(function: &mut Function, params: &FormalParameters<'_>) {
        let mut names: Vec<String> = Vec::new();
        let mut simple = params.rest.is_none();
        for param in &params.items {
            simple &= param.initializer.is_none() && matches!(param.pattern, BindingPattern::BindingIdentifier(_));
            bound_names(&param.pattern, &mut names);
        }
        if let Some(rest) = &params.rest {
            bound_names(&rest.rest.argument, &mut names);
        }
        // Of two parameters of one name the last counts; a variant gets each once.
        let mut once: Vec<String> = Vec::new();
        for name in names {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        if once.iter().any(|name| name == "arguments") {
            function.why_not = Some(OWN_ARGUMENTS);
        }
        function.params = once;
        function.nature.simple = simple;
    }

    fn set_body(function: &mut Function, body: &FunctionBody<'_>) {
        function.body = (body.span.start + 1, body.span.end - 1);
        function.guard_at = body.directives.last().map_or(body.span.start + 1, |last| last.span.end);
        if body.directives.iter().any(|directive| directive.directive == "use asm") {
            function.why_not = Some(ASM);
        }
    }

    fn leave_function(&mut self, at: usize) {
        self.contexts.pop();
        let mut around = self.functions[at].parent;
        let mut unclear = self.unclear_in[at].or(self.unclear);
        while let Some(outer) = around {
            unclear = unclear.or(self.unclear_in[outer]);
            around = self.functions[outer].parent;
        }
        let function = &mut self.functions[at];
        function.why_not = function.why_not.or(unclear);
        function.statements.sort_unstable_by_key(|statement| (statement.line, statement.site));
    }

    /// Notes that the function around waits.
    fn note_wait(&mut self) {
        if let Some(at) = self.innermost() {
            self.functions[at].nature.awaits = true;
        }
    }

    /// Notes a loop of which its head does not say that it ends.
    fn note_loop(&mut self, it: &Statement<'_>) {
        let goes_on = match it {
            Statement::WhileStatement(_) | Statement::DoWhileStatement(_) => true,
            Statement::ForStatement(it) => it.test.is_none(),
            Statement::ForOfStatement(it) => it.r#await,
            _ => false,
        };
        if goes_on {
            self.loops.push((self.function(), it.span().start, it.span().end));
        }
    }

    /// The value of a field is evaluated for itself, with a `this` of its own: it is a function, of one expression.
    fn field(&mut self, value: &Expression<'_>, is_static: bool, hint: Option<Hint>) {
        let span = value.span();
        let scope = self.scopes.last().copied();
        let mut function = self.make_function(span, scope, hint.clone());
        // As the engine calls what evaluates all fields.
        let name = if is_static { "<static_initializer>" } else { "<instance_members_initializer>" };
        name.clone_into(&mut function.name);
        let nature = Nature {
            arrow: true,
            concise: true,
            field: true,
            strict: true,
            this: true,
            simple: true,
            ..Nature::default()
        };
        function.nature = nature;
        function.kind = FunctionKind::Expression;
        function.body = (span.start, span.end);
        function.why_not = is_constant(value).then_some(CONSTANT);
        let around = (std::mem::take(&mut self.listed), self.new_base.take(), self.spot.take());
        let chains = std::mem::take(&mut self.chains);
        let at = self.enter_function(function);
        self.mark(span.start, span.start, Act::Guard(at));
        self.reach_fields(span.start);
        let number = self.site(span.start, span.end, Place::Concise);
        self.mark(span.start, span.start, Act::Site(number, SitePart::Begin));
        self.with_hint(value, |_| hint);
        self.leave_function(at);
        (self.listed, self.new_base, self.spot) = around;
        self.chains = chains;
    }

    /// The code of a probe in a function can read the private fields of the classes around.
    fn reach_fields(&mut self, at: u32) {
        for number in 0..self.classes.len() {
            let Class { start, fields, .. } = &self.classes[number];
            if fields.is_empty() {
                continue;
            }
            let (owner, kind) = (*start, SlotKind::PrivateFields(fields.clone()));
            let slot = self.slots.number(kind, owner);
            self.need(at, owner, slot);
        }
    }

    /// Notes a statement without a guard in it: as part of the run of such statements before it, if there is one. Runs from
    /// `before` on are in it. Answers which run it is.
    fn note_still(&mut self, span: Span, before: usize, run: Option<usize>) -> usize {
        self.still.truncate(before);
        if let Some((at, (_, end))) = run.and_then(|run| Some((run, self.still.get_mut(run)?))) {
            *end = span.end;
            return at;
        }
        self.still.push((span.start, span.end));
        self.still.len() - 1
    }

    /// The site of a statement, its marks before and after it.
    fn statement_site(&mut self, it: &Statement<'_>, at: u32, place: Place) -> (u32, Place) {
        if !self.is_for_probes() {
            return (0, place);
        }
        let number = self.site(it.span().start, head_end(it), place);
        self.mark(at, at, Act::Site(number, SitePart::Begin));
        (number, place)
    }

    fn private_call(&mut self, it: &CallExpression<'_>, member: &PrivateFieldExpression<'_>) {
        let name = member.field.name.to_string();
        let owner = self.private_owner(&name);
        if self.chains > 0 {
            self.refuse(owner, CHAIN);
        }
        let slot = self.slot(SlotKind::PrivateRead(name.clone()), owner);
        // As V8 shows it where it is no function.
        let object = match &member.object {
            Expression::ThisExpression(_) | Expression::Identifier(_) => self.slice(member.object.span()),
            _ => "(intermediate value)",
        };
        let text = quoted(&format!("{object}[#{name}]"));
        let start = it.span.start;
        self.outer(start, start, owner, vec![Part::Text("$s_p("), slot, Part::Text(",")]);
        self.visit_expression(&member.object);
        let end = member.object.span().end;
        self.outer(end, member.span.end, owner, vec![Part::Owned(format!(",{text})"))]);
        self.visit_arguments(&it.arguments);
    }

    fn super_call(&mut self, it: &CallExpression<'_>, span: Span, name: Option<&str>) {
        let owner = self.home();
        if self.chains > 0 {
            self.refuse(owner, CHAIN);
        }
        let this = self.this_parts();
        self.outer(span.start, span.start, owner, vec![Part::Text("$s_m(")]);
        self.visit_super_member(&it.callee);
        let shown = name.map_or_else(|| "[...]".to_owned(), |name| format!(".{name}"));
        let mut parts = vec![Part::Text(",")];
        parts.extend(this);
        parts.push(Part::Owned(format!(",{})", quoted(&format!("(intermediate value){shown}")))));
        self.outer(span.end, span.end, owner, parts);
        self.visit_arguments(&it.arguments);
    }

    fn visit_super_member(&mut self, it: &Expression<'_>) {
        self.note(|nature| nature.this = true);
        let owner = self.home();
        match it {
            Expression::StaticMemberExpression(member) => {
                let slot = self.slots.number(SlotKind::SuperRead(member.property.name.to_string()), owner);
                self.call_of(member.span, owner, slot);
            }
            Expression::ComputedMemberExpression(member) => self.super_index(member, owner),
            _ => {}
        }
    }

    fn super_index(&mut self, member: &ComputedMemberExpression<'_>, owner: u32) {
        self.note(|nature| nature.this = true);
        if self.new_base == Some(member.span.start) {
            self.refuse(owner, SUPER);
        }
        let slot = self.slot(SlotKind::SuperIndex, owner);
        let key = member.expression.span();
        self.outer(member.span.start, key.start, owner, vec![slot, Part::Text("(")]);
        self.visit_expression(&member.expression);
        self.close(key.end, member.span.end, owner, ")");
    }

    /// A private or super member that is assigned to, but by `=`.
    fn member_target(&mut self, it: &SimpleAssignmentTarget<'_>) -> bool {
        match it {
            SimpleAssignmentTarget::PrivateFieldExpression(member) => {
                let name = member.field.name.to_string();
                let owner = self.private_owner(&name);
                let (read, write) = (
                    self.slot(SlotKind::PrivateRead(name.clone()), owner),
                    self.slot(SlotKind::PrivateWrite(name), owner),
                );
                let start = member.span.start;
                let parts = vec![Part::Text("$s_q("), read, Part::Text(","), write, Part::Text(",")];
                self.outer(start, start, owner, parts);
                self.visit_expression(&member.object);
                self.close(member.object.span().end, member.span.end, owner, ").v");
                true
            }
            SimpleAssignmentTarget::StaticMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                self.note(|nature| nature.this = true);
                let owner = self.home();
                let name = member.property.name.to_string();
                let (read, write) =
                    (self.slot(SlotKind::SuperRead(name.clone()), owner), self.slot(SlotKind::SuperWrite(name), owner));
                let parts = vec![Part::Text("$s_w("), read, Part::Text(","), write, Part::Text(").v")];
                self.outer(member.span.start, member.span.end, owner, parts);
                true
            }
            SimpleAssignmentTarget::ComputedMemberExpression(member)
                if matches!(member.object, Expression::Super(_)) =>
            {
                self.refuse(self.home(), SUPER);
                false
            }
            _ => false,
        }
    }

    /// `….#name = value`, in the quicker way.
    fn private_assign(&mut self, it: &AssignmentExpression<'_>, member: &PrivateFieldExpression<'_>) {
        let name = member.field.name.to_string();
        let owner = self.private_owner(&name);
        let slot = self.slot(SlotKind::PrivateWrite(name), owner);
        let start = it.span.start;
        self.outer(start, start, owner, vec![slot, Part::Text("(")]);
        self.visit_expression(&member.object);
        self.close(member.object.span().end, it.right.span().start, owner, ",");
        self.visit_expression(&it.right);
        self.close(it.right.span().end, it.right.span().end, owner, ")");
    }

    fn declared(&mut self, name: &str) {
        if name == "$s" || name.starts_with("$s_") {
            self.refuse(0, NAMES);
        }
        if name == "arguments" {
            self.refuse(0, OWN_ARGUMENTS);
        }
    }
}

fn bound_names(pattern: &BindingPattern<'_>, names: &mut Vec<String>) {
    match pattern {
        BindingPattern::BindingIdentifier(name) => names.push(name.name.to_string()),
        BindingPattern::ObjectPattern(object) => {
            object.properties.iter().for_each(|property| bound_names(&property.value, names));
            if let Some(rest) = &object.rest {
                bound_names(&rest.argument, names);
            }
        }
        BindingPattern::ArrayPattern(array) => {
            array.elements.iter().flatten().for_each(|element| bound_names(element, names));
            if let Some(rest) = &array.rest {
                bound_names(&rest.argument, names);
            }
        }
        BindingPattern::AssignmentPattern(assignment) => bound_names(&assignment.left, names),
    }
}

fn unwrapped<'e, 'a>(mut expression: &'e Expression<'a>) -> &'e Expression<'a> {
    while let Expression::ParenthesizedExpression(inner) = expression {
        expression = &inner.expression;
    }
    expression
}

/// True for a function or class that an assignment to a variable would give its name.
fn is_anonymous_function(expression: &Expression<'_>) -> bool {
    match unwrapped(expression) {
        Expression::FunctionExpression(function) => function.id.is_none(),
        Expression::ClassExpression(class) => class.id.is_none(),
        Expression::ArrowFunctionExpression(_) => true,
        _ => false,
    }
}

/// True for a value that is there without any code being run for it.
fn is_constant(expression: &Expression<'_>) -> bool {
    match unwrapped(expression) {
        Expression::BooleanLiteral(_)
        | Expression::NullLiteral(_)
        | Expression::NumericLiteral(_)
        | Expression::BigIntLiteral(_)
        | Expression::RegExpLiteral(_)
        | Expression::StringLiteral(_)
        | Expression::Identifier(_) => true,
        Expression::TemplateLiteral(template) => template.expressions.is_empty(),
        Expression::ArrayExpression(array) => array.elements.is_empty(),
        Expression::ObjectExpression(object) => object.properties.is_empty(),
        Expression::UnaryExpression(unary) => is_constant(&unary.argument),
        _ => false,
    }
}

/// True for a statement that does something where it stands: one that declares a function or names things only does not.
fn runs(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::BlockStatement(_)
        | Statement::EmptyStatement(_)
        | Statement::FunctionDeclaration(_)
        | Statement::ImportDeclaration(_)
        | Statement::ExportAllDeclaration(_)
        | Statement::ExportNamedDeclaration(_)
        | Statement::ExportFromDeclaration(_) => false,
        Statement::ExportDeclaration(it) => !matches!(it.declaration, Declaration::FunctionDeclaration(_)),
        Statement::ExportDefaultDeclaration(it) => {
            !matches!(it.declaration, ExportDefaultDeclarationKind::FunctionDeclaration(_))
        }
        _ => true,
    }
}

/// True for a class that is declared.
fn is_class(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ClassDeclaration(_) => true,
        Statement::ExportDeclaration(it) => matches!(it.declaration, Declaration::ClassDeclaration(_)),
        Statement::ExportDefaultDeclaration(it) => {
            matches!(it.declaration, ExportDefaultDeclarationKind::ClassDeclaration(_))
        }
        _ => false,
    }
}

/// Where the values of a `for` … `of` or `in` come from: it is looked at once, what stands before it for each of them.
fn head_start(statement: &Statement<'_>) -> u32 {
    match statement {
        Statement::ForOfStatement(it) => it.right.span().start,
        Statement::ForInStatement(it) => it.right.span().start,
        other => other.span().start,
    }
}

/// Where the callee of a `new` begins, if that is a name or the like: in its place stands a call, which needs parentheses.
fn new_base(callee: &Expression<'_>) -> Option<u32> {
    match callee {
        Expression::StaticMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
            Some(member.span.start)
        }
        Expression::StaticMemberExpression(member) => new_base(&member.object),
        Expression::ComputedMemberExpression(member) => new_base(&member.object),
        Expression::TaggedTemplateExpression(tagged) => new_base(&tagged.tag),
        Expression::ParenthesizedExpression(_) => None,
        other => Some(other.span().start),
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn enter_scope(&mut self, _flags: ScopeFlags, scope: &Cell<Option<ScopeId>>) {
        self.scopes.push(scope.get().unwrap_or_else(|| ScopeId::new(0)));
    }

    fn leave_scope(&mut self) {
        self.scopes.pop();
    }

    fn visit_statements(&mut self, it: &oxc_allocator::ArenaVec<'a, Statement<'a>>) {
        let around = self.spot;
        self.lists.push(around);
        let list = self.lists.len() as u32 - 1;
        let mut run = None;
        for statement in it {
            self.listed = true;
            self.spot = Some(Spot { list, at: statement.span().start });
            let (functions, before) = (self.functions.len(), self.still.len());
            self.visit_statement(statement);
            // A guard is where a function is.
            run = (self.functions.len() == functions).then(|| self.note_still(statement.span(), before, run));
        }
        self.listed = false;
        self.spot = around;
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        let listed = std::mem::take(&mut self.listed);
        let labelled = std::mem::take(&mut self.labelled);
        let alone = if listed { Place::Listed } else { Place::Alone };
        let around = self.spot;
        if !listed && !labelled {
            self.spot = Some(self.new_spot(it.span().start));
        }
        let begun = match it {
            _ if !runs(it) => None,
            Statement::LabeledStatement(labeled) => {
                let mut inner = &labeled.body;
                while let Statement::LabeledStatement(next) = inner {
                    inner = &next.body;
                }
                let plain = !matches!(
                    inner,
                    Statement::BlockStatement(_)
                        | Statement::EmptyStatement(_)
                        | Statement::FunctionDeclaration(_)
                        | Statement::WhileStatement(_)
                );
                let begun = (plain && !labelled).then(|| self.statement_site(inner, it.span().start, alone));
                self.labelled = plain;
                walk::walk_statement(self, it);
                self.labelled = false;
                begun
            }
            Statement::WhileStatement(_) => Some(self.statement_site(it, it.span().start, Place::While)),
            _ if labelled => None,
            _ => Some(self.statement_site(it, it.span().start, alone)),
        };
        self.note_loop(it);
        if let Some((number, _)) = begun.filter(|_| self.is_for_probes())
            && let Statement::ForOfStatement(_) | Statement::ForInStatement(_) = it
        {
            self.stops.insert(number, head_start(it));
        }
        if let Some((number, _)) = begun.filter(|_| is_class(it)) {
            self.unstoppable.insert(number);
        }
        if !matches!(it, Statement::LabeledStatement(_)) {
            walk::walk_statement(self, it);
        }
        if let Some((number, _)) = begun {
            self.mark(it.span().end, it.span().end, Act::Site(number, SitePart::End));
        }
        self.spot = around;
    }

    fn visit_while_statement(&mut self, it: &WhileStatement<'a>) {
        // The site was made just before.
        let number = (self.sites.len() as u32).saturating_sub(1);
        self.visit_expression(&it.test);
        let at = it.body.span().start;
        self.mark(at, at, Act::Site(number, SitePart::Body));
        self.visit_statement(&it.body);
    }

    fn visit_do_while_statement(&mut self, it: &DoWhileStatement<'a>) {
        self.visit_statement(&it.body);
        let test = it.test.span();
        let around = self.spot;
        self.spot = Some(self.new_spot(test.start));
        let number = self.site(test.start, test.end, Place::DoTest);
        self.spot = around;
        self.mark(test.start, test.start, Act::Site(number, SitePart::Begin));
        self.visit_expression(&it.test);
        self.mark(test.end, test.end, Act::Site(number, SitePart::End));
    }

    fn visit_switch_statement(&mut self, it: &SwitchStatement<'a>) {
        if let Some(scope) = it.scope_id.get() {
            self.switches.insert(scope);
        }
        walk::walk_switch_statement(self, it);
    }

    fn visit_with_statement(&mut self, it: &WithStatement<'a>) {
        self.unclear(WITH);
        walk::walk_with_statement(self, it);
    }

    fn visit_return_statement(&mut self, it: &ReturnStatement<'a>) {
        let (Some(function), Some(value)) = (self.function(), &it.argument) else {
            if let Some(function) = self.function() {
                self.mark(it.span.start, it.span.end, Act::Return(function, ReturnPart::Bare));
            }
            return;
        };
        self.mark(it.span.start, value.span().start, Act::Return(function, ReturnPart::Begin));
        self.visit_expression(value);
        self.mark(value.span().end, it.span.end, Act::Return(function, ReturnPart::End));
    }

    fn visit_function(&mut self, it: &oxc_ast::ast::Function<'a>, _flags: ScopeFlags) {
        let hint = self.hint.take();
        let constructor = self.constructor.take();
        let accessor = std::mem::take(&mut self.accessor);
        let own = self.own_name(it.id.as_ref());
        // A member is found by the name of its place; elsewhere a function has its own name, and is found by its variable's too.
        let (hint, variable) = match (hint, own) {
            (Some(hint), _) if hint.of_class || hint.path.len() > 1 => (Some(hint), String::new()),
            (Some(hint), Some(own)) => (Some(own), hint.name()),
            (hint, own) => (own.or(hint), String::new()),
        };
        if let Some(id) = &it.id
            && it.is_declaration()
        {
            self.declared(&id.name);
        }
        let Some(body) = &it.body else { return };
        let mut function = self.make_function(it.span, it.scope_id.get(), hint);
        function.variable = variable;
        function.accessor = accessor;
        if let Some(id) = it.id.as_ref().filter(|_| self.is_for_probes()) {
            function.name = id.name.to_string();
        }
        Self::set_parameters(&mut function, &it.params);
        Self::set_body(&mut function, body);
        function.nature.is_async = it.r#async;
        function.nature.generator = it.generator;
        function.nature.derived = constructor == Some(true);
        let guard_at = function.guard_at;
        let (listed, new_base, spot) = (std::mem::take(&mut self.listed), self.new_base.take(), self.spot.take());
        let chains = std::mem::take(&mut self.chains);
        let at = self.enter_function(function);
        self.scopes.push(self.functions[at].scope);
        if let Some(id) = &it.id {
            self.declared(&id.name);
        }
        self.visit_formal_parameters(&it.params);
        self.mark(guard_at, guard_at, Act::Guard(at));
        self.reach_fields(guard_at);
        self.visit_function_body(body);
        self.scopes.pop();
        self.leave_function(at);
        (self.listed, self.new_base, self.chains, self.spot) = (listed, new_base, chains, spot);
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        let hint = self.hint.take();
        let mut function = self.make_function(it.span, it.scope_id.get(), hint);
        Self::set_parameters(&mut function, &it.params);
        function.nature.arrow = true;
        function.nature.in_derived = self.derived().is_some();
        function.nature.is_async = it.r#async;
        match &it.body {
            ArrowFunctionBody::FunctionBody(body) => Self::set_body(&mut function, body),
            body => {
                let span = body.span();
                function.nature.concise = true;
                function.kind = FunctionKind::Expression;
                function.body = (span.start, span.end);
                function.guard_at = span.start;
            }
        }
        let guard_at = function.guard_at;
        let (listed, new_base, spot) = (std::mem::take(&mut self.listed), self.new_base.take(), self.spot.take());
        let chains = std::mem::take(&mut self.chains);
        let at = self.enter_function(function);
        self.scopes.push(self.functions[at].scope);
        self.visit_formal_parameters(&it.params);
        self.mark(guard_at, guard_at, Act::Guard(at));
        self.reach_fields(guard_at);
        if self.functions[at].nature.concise {
            let (start, end) = self.functions[at].body;
            let number = self.site(start, end, Place::Concise);
            self.mark(start, start, Act::Site(number, SitePart::Begin));
        }
        self.visit_arrow_function_body(&it.body);
        self.scopes.pop();
        self.leave_function(at);
        (self.listed, self.new_base, self.chains, self.spot) = (listed, new_base, chains, spot);
    }

    fn visit_await_expression(&mut self, it: &AwaitExpression<'a>) {
        self.note_wait();
        walk::walk_await_expression(self, it);
    }

    fn visit_class(&mut self, it: &oxc_ast::ast::Class<'a>) {
        let hint = self.hint.take();
        let own = self.own_name(it.id.as_ref());
        if let Some(id) = &it.id {
            self.declared(&id.name);
        }
        let private = |element: &ClassElement<'_>| {
            let key = match element {
                ClassElement::MethodDefinition(method) => &method.key,
                ClassElement::PropertyDefinition(property) => &property.key,
                ClassElement::AccessorProperty(accessor) => &accessor.key,
                _ => return None,
            };
            if let PropertyKey::PrivateIdentifier(name) = key { Some(name.name.to_string()) } else { None }
        };
        let privates = it.body.body.iter().filter_map(private).collect();
        let field = |element: &ClassElement<'_>| match element {
            ClassElement::PropertyDefinition(property) => match &property.key {
                PropertyKey::PrivateIdentifier(name) => Some(name.name.to_string()),
                _ => None,
            },
            _ => None,
        };
        let fields = it.body.body.iter().filter_map(field).take(FIELDS).collect();
        let derived = it.heritage.is_some();
        let name = Hint { of_class: true, ..own.or(hint).unwrap_or_default() };
        if self.is_for_probes() {
            let shape = self.class_shape(it, &name);
            self.shapes.push(shape);
        }
        self.visit_decorators(&it.decorators);
        self.scopes.push(it.scope_id.get().unwrap_or_else(|| ScopeId::new(0)));
        if let Some(heritage) = &it.heritage {
            self.visit_class_heritage(heritage);
        }
        self.classes.push(Class { start: it.span.start, privates, fields, derived, name });
        self.visit_class_body(&it.body);
        self.classes.pop();
        self.scopes.pop();
    }

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        self.visit_property_key(&it.key);
        let class = self.classes.last();
        let key = names::of_key(&it.key).filter(|_| self.is_for_probes());
        self.hint = class.zip(key).map(|(class, key)| class.name.member(key));
        let constructor = it.kind == MethodDefinitionKind::Constructor;
        self.constructor = constructor.then(|| class.is_some_and(|class| class.derived));
        self.accessor = match it.kind {
            MethodDefinitionKind::Get => "get",
            MethodDefinitionKind::Set => "set",
            _ => "",
        };
        self.visit_function(&it.value, ScopeFlags::Function);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        self.visit_property_key(&it.key);
        let Some(value) = &it.value else { return };
        let key = names::of_key(&it.key).filter(|_| self.is_for_probes());
        let hint = self.classes.last().zip(key).map(|(class, key)| class.name.member(key));
        self.contexts.push(Context::Class);
        // Of a function that has its name of the field only the code of its own runs.
        if is_anonymous_function(value) {
            self.with_hint(value, |_| hint);
        } else {
            self.field(value, it.r#static, hint);
        }
        self.contexts.pop();
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.visit_property_key(&it.key);
        let Some(value) = &it.value else { return };
        self.contexts.push(Context::Class);
        self.visit_expression(value);
        self.contexts.pop();
    }

    fn visit_static_block(&mut self, it: &StaticBlock<'a>) {
        self.contexts.push(Context::Class);
        walk::walk_static_block(self, it);
        self.contexts.pop();
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        if it.r#await {
            self.note_wait();
        }
        walk::walk_for_of_statement(self, it);
    }

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        if it.kind == VariableDeclarationKind::AwaitUsing {
            self.note_wait();
        }
        walk::walk_variable_declaration(self, it);
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        self.visit_binding_pattern(&it.id);
        if let Some(init) = &it.init {
            self.with_hint(init, |_| names::of_pattern(&it.id));
        }
    }

    fn visit_binding_identifier(&mut self, it: &BindingIdentifier<'a>) {
        self.declared(&it.name);
    }

    fn visit_object_expression(&mut self, it: &ObjectExpression<'a>) {
        let object = self.hint.take().unwrap_or_default();
        for property in &it.properties {
            match property {
                ObjectPropertyKind::ObjectProperty(property) => self.object_property(property, &object),
                ObjectPropertyKind::SpreadProperty(spread) => self.visit_spread_element(spread),
            }
        }
    }

    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        if it.name == "arguments" && it.reference_id.get().is_none_or(|id| !self.scoping.has_binding(id)) {
            return self.arguments(it.span);
        }
        if let Some(meaning) = self.meaning(it) {
            let read = self.read(&meaning);
            self.call_of(it.span, meaning.owner, read);
        }
    }

    fn visit_this_expression(&mut self, it: &ThisExpression) {
        self.note(|nature| nature.this = true);
        if let Some(owner) = self.derived() {
            let slot = self.slots.number(SlotKind::This, owner);
            self.call_of(it.span, owner, slot);
        }
    }

    fn visit_import_meta(&mut self, it: &ImportMeta) {
        let slot = self.slots.number(SlotKind::ImportMeta, 0);
        self.call_of(it.span, 0, slot);
    }

    fn visit_new_target(&mut self, it: &NewTarget) {
        self.note(|nature| nature.new_target = true);
        if let Some(binder) = self.binder() {
            let owner = self.functions[binder].start;
            let slot = self.slots.number(SlotKind::NewTarget, owner);
            self.call_of(it.span, owner, slot);
        }
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        let slot = self.slot(SlotKind::Import { options: it.options.is_some() }, 0);
        let start = it.span.start;
        self.outer(start, start + "import".len() as u32, 0, vec![slot]);
        walk::walk_import_expression(self, it);
    }

    fn visit_new_expression(&mut self, it: &NewExpression<'a>) {
        let around = std::mem::replace(&mut self.new_base, new_base(&it.callee));
        self.visit_expression(&it.callee);
        self.new_base = around;
        self.visit_arguments(&it.arguments);
    }

    fn visit_chain_expression(&mut self, it: &ChainExpression<'a>) {
        self.chains += 1;
        walk::walk_chain_expression(self, it);
        self.chains -= 1;
    }

    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        match &it.callee {
            Expression::Identifier(name) if name.name == "eval" => self.unclear(EVAL),
            Expression::Super(token) => {
                let owner = self.home();
                let spread = it.arguments.iter().any(Argument::is_spread);
                let slot = self.slot(SlotKind::SuperCall((!spread).then_some(it.arguments.len())), owner);
                self.outer(token.span.start, token.span.end, owner, vec![slot]);
                return self.visit_arguments(&it.arguments);
            }
            Expression::PrivateFieldExpression(member) => return self.private_call(it, member),
            Expression::StaticMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                let name = member.property.name.to_string();
                return self.super_call(it, member.span, Some(&name));
            }
            Expression::ComputedMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                return self.super_call(it, member.span, None);
            }
            _ => {}
        }
        walk::walk_call_expression(self, it);
    }

    fn visit_tagged_template_expression(&mut self, it: &TaggedTemplateExpression<'a>) {
        match &it.tag {
            Expression::PrivateFieldExpression(member) => {
                let owner = self.private_owner(&member.field.name);
                self.refuse(owner, TAG);
            }
            Expression::StaticMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                self.refuse(self.home(), TAG);
            }
            Expression::ComputedMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                self.refuse(self.home(), TAG);
            }
            _ => {}
        }
        walk::walk_tagged_template_expression(self, it);
    }

    fn visit_member_expression(&mut self, it: &MemberExpression<'a>) {
        match it {
            MemberExpression::StaticMemberExpression(member) => {
                if matches!(&member.object, Expression::Identifier(name) if name.name == "arguments")
                    && member.property.name == "callee"
                {
                    self.refuse(0, CALLEE);
                }
                if matches!(member.object, Expression::Super(_)) {
                    self.note(|nature| nature.this = true);
                    let owner = self.home();
                    let slot = self.slots.number(SlotKind::SuperRead(member.property.name.to_string()), owner);
                    return self.call_of(member.span, owner, slot);
                }
            }
            MemberExpression::ComputedMemberExpression(member) if matches!(member.object, Expression::Super(_)) => {
                let owner = self.home();
                return self.super_index(member, owner);
            }
            MemberExpression::PrivateFieldExpression(member) => {
                let name = member.field.name.to_string();
                let owner = self.private_owner(&name);
                if self.chains > 0 {
                    self.refuse(owner, CHAIN);
                }
                let within_new = self.new_base == new_base(&member.object) && self.new_base.is_some();
                let slot = self.slot(SlotKind::PrivateRead(name), owner);
                let (open, close) = if within_new { ("(", "))") } else { ("", ")") };
                let start = member.span.start;
                self.outer(start, start, owner, vec![Part::Text(open), slot, Part::Text("(")]);
                let around = self.new_base.take();
                self.visit_expression(&member.object);
                self.new_base = around;
                return self.close(member.object.span().end, member.span.end, owner, close);
            }
            MemberExpression::ComputedMemberExpression(_) => {}
        }
        walk::walk_member_expression(self, it);
    }

    fn visit_private_in_expression(&mut self, it: &PrivateInExpression<'a>) {
        let name = it.left.name.to_string();
        let owner = self.private_owner(&name);
        let slot = self.slot(SlotKind::PrivateIn(name), owner);
        let right = it.right.span();
        self.outer(it.span.start, right.start, owner, vec![slot, Part::Text("(")]);
        self.visit_expression(&it.right);
        self.close(right.end, right.end, owner, ")");
    }

    fn visit_unary_expression(&mut self, it: &UnaryExpression<'a>) {
        if it.operator == UnaryOperator::Delete
            && let Expression::Identifier(name) = unwrapped(&it.argument)
            && let Some(meaning) = self.meaning(name)
        {
            self.refuse(meaning.owner, DELETE);
        }
        walk::walk_unary_expression(self, it);
    }

    fn visit_update_expression(&mut self, it: &UpdateExpression<'a>) {
        let SimpleAssignmentTarget::AssignmentTargetIdentifier(name) = &it.argument else {
            return self.visit_simple_assignment_target(&it.argument);
        };
        let Some(meaning) = self.meaning(name) else { return };
        let (read, write) = (Part::Slot(self.read(&meaning)), self.write(&meaning));
        let how = match (it.operator, it.prefix) {
            (UpdateOperator::Increment, true) => ",1)",
            (UpdateOperator::Decrement, true) => ",0)",
            (UpdateOperator::Increment, false) => ",3)",
            (UpdateOperator::Decrement, false) => ",2)",
        };
        let parts = vec![Part::Text("$s_u("), read, Part::Text(","), write, Part::Text(how)];
        self.outer(it.span.start, it.span.end, meaning.owner, parts);
    }

    fn visit_assignment_expression(&mut self, it: &AssignmentExpression<'a>) {
        match &it.left {
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                self.hint_for(&it.right, &it.left);
                if self.assign(it, name) {
                    return;
                }
                return self.visit_expression(&it.right);
            }
            AssignmentTarget::PrivateFieldExpression(member) if it.operator == AssignmentOperator::Assign => {
                return self.private_assign(it, member);
            }
            _ => {}
        }
        self.visit_assignment_target(&it.left);
        self.hint_for(&it.right, &it.left);
        self.visit_expression(&it.right);
        self.hint = None;
    }

    fn visit_simple_assignment_target(&mut self, it: &SimpleAssignmentTarget<'a>) {
        if let SimpleAssignmentTarget::AssignmentTargetIdentifier(name) = it {
            return self.target(name);
        }
        if !self.member_target(it) {
            walk::walk_simple_assignment_target(self, it);
        }
    }

    fn visit_assignment_target_with_default(&mut self, it: &AssignmentTargetWithDefault<'a>) {
        if let AssignmentTarget::AssignmentTargetIdentifier(name) = &it.binding
            && is_anonymous_function(&it.init)
            && let Some(meaning) = self.meaning(name)
        {
            self.refuse(meaning.owner, DEFAULT);
        }
        walk::walk_assignment_target_with_default(self, it);
    }

    fn visit_assignment_target_property_identifier(&mut self, it: &AssignmentTargetPropertyIdentifier<'a>) {
        if let Some(meaning) = self.meaning(&it.binding) {
            if it.init.as_ref().is_some_and(is_anonymous_function) {
                self.refuse(meaning.owner, DEFAULT);
            }
            let mut parts = vec![Part::Owned(format!("{}:", meaning.name))];
            parts.extend(self.reference(&meaning));
            self.outer(it.binding.span.start, it.binding.span.end, meaning.owner, parts);
        }
        if let Some(init) = &it.init {
            self.visit_expression(init);
        }
    }
}

impl Reader<'_> {
    fn hint_for(&mut self, value: &Expression<'_>, target: &AssignmentTarget<'_>) {
        self.hint = if self.is_named(value) { names::of_target(target) } else { None };
    }

    fn object_property(&mut self, it: &ObjectProperty<'_>, object: &Hint) {
        self.visit_property_key(&it.key);
        if it.shorthand
            && let Expression::Identifier(name) = &it.value
        {
            let arguments =
                name.name == "arguments" && name.reference_id.get().is_none_or(|id| !self.scoping.has_binding(id));
            let at = name.span.start;
            let before = self.marks.len();
            if arguments {
                self.arguments(name.span);
            } else if let Some(meaning) = self.meaning(name) {
                let read = self.read(&meaning);
                self.call_of(name.span, meaning.owner, read);
            }
            if let Some(mark) = self.marks.get_mut(before)
                && let Act::Outer { parts, .. } = &mut mark.act
            {
                debug_assert_eq!(mark.at, at);
                parts.insert(0, Part::Owned(format!("{}:", name.name)));
            }
            return;
        }
        self.accessor = match it.kind {
            PropertyKind::Get => "get",
            PropertyKind::Set => "set",
            PropertyKind::Init => "",
        };
        self.with_hint(&it.value, |_| names::of_key(&it.key).map(|key| object.member(key)));
    }
}
