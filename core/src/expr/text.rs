//! The text form: what people type. One pass over the text with two explicit stacks, operands that are finished and
//! things that wait for one, so depth costs no stack.
//!
//! It stands on the walk of a configuration going in: `mod.rs` comes before with a `dsl` that has no `json`, and
//! `template.rs` with the expressions in braces; `check.rs` comes after.

use super::Invalid;
use super::check::{self, quoted};
use super::literal::{self, Escape};
use super::tree::{Binary, Builder, Logic, MAX_DEPTH, Node, NodeId, Quantifier, Tree, Unary};
use std::fmt;

/// Most things that may wait at once. An operator of the tree opens one parenthesis or pair of braces and may stand in
/// parentheses of its own; [`check::structure`] bounds the rest.
const MAX_WAITING: usize = 4 * MAX_DEPTH;

/// Reads an expression in its text form.
pub fn parse(text: &str) -> Result<Tree, Invalid> {
    Ok(read(text, 0, false)?.0)
}

/// Reads the expression that begins at a byte of a template and ends at its `}`; gives the place of that.
pub(super) fn parse_braced(template: &str, first: usize) -> Result<(Tree, usize), Invalid> {
    read(template, first, true)
}

/// Says what is wrong at a byte of a text.
pub(super) fn invalid(text: &str, at: usize, what: impl fmt::Display) -> Invalid {
    Invalid::new(format_args!("{what} (column {})", text[..at].chars().count() + 1))
}

fn read(text: &str, first: usize, braced: bool) -> Result<(Tree, usize), Invalid> {
    let (tree, end) = Parser::new(text, first, braced, Chains::Binary).run()?;
    if check::depth(&tree) <= MAX_DEPTH {
        check::structure(&tree)?;
        return Ok((tree, end));
    }
    // A chain of a thousand `||` nests as deep when its nodes are binary. It means the same as one flat node.
    let (tree, end) = Parser::new(text, first, braced, Chains::Flat).run()?;
    check::structure(&tree)?;
    Ok((tree, end))
}

/// What becomes of `a && b && c`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chains {
    /// `(a && b) && c`.
    Binary,
    /// One node with three operands.
    Flat,
}

/// A function of the language.
#[derive(Clone, Copy)]
enum Function {
    Unary(Unary),
    Binary(Binary),
    Quantifier(Quantifier),
    Substring,
    InstanceOf,
}

impl Function {
    fn from_name(name: &str) -> Option<Function> {
        Some(match name {
            "not" => Function::Unary(Unary::Not),
            "len" => Function::Unary(Unary::Len),
            "count" => Function::Unary(Unary::Count),
            "isEmpty" => Function::Unary(Unary::IsEmpty),
            "isDefined" => Function::Unary(Unary::IsDefined),
            "isUndefined" => Function::Unary(Unary::IsUndefined),
            "contains" => Function::Binary(Binary::Contains),
            "startsWith" => Function::Binary(Binary::StartsWith),
            "endsWith" => Function::Binary(Binary::EndsWith),
            "matches" => Function::Binary(Binary::Matches),
            "any" => Function::Quantifier(Quantifier::Any),
            "all" => Function::Quantifier(Quantifier::All),
            "filter" => Function::Quantifier(Quantifier::Filter),
            "substring" => Function::Substring,
            "instanceof" => Function::InstanceOf,
            _ => return None,
        })
    }

    /// The function as its user should write it.
    fn usage(self) -> String {
        match self {
            Function::Unary(op) => format!("{}(x)", op.name()),
            Function::Binary(op) => format!("{}(x, y)", op.name()),
            Function::Quantifier(op) => format!("{}(x, {{@it > 0}})", op.name()),
            Function::Substring => "substring(x, start) or substring(x, start, end)".to_owned(),
            Function::InstanceOf => "instanceof(x, \"Class\")".to_owned(),
        }
    }
}

/// A comparison, or the test of a class, that waits for what is right of it.
#[derive(Clone, Copy)]
enum Infix {
    Logic(Logic),
    Binary(Binary),
    /// The class name is read already, so nothing is awaited; it waits so that comparisons do not chain.
    InstanceOf(u32),
}

/// How tightly an infix operator binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Equality,
    Relation,
}

impl Infix {
    fn level(self) -> Level {
        match self {
            Infix::Logic(Logic::Or) => Level::Or,
            Infix::Logic(Logic::And) => Level::And,
            Infix::Binary(Binary::Eq | Binary::Ne) => Level::Equality,
            Infix::Binary(_) | Infix::InstanceOf(_) => Level::Relation,
        }
    }
}

/// What waits for its last operand or its closing sign.
enum Waiting {
    Not,
    /// `operands` are finished already.
    Infix {
        infix: Infix,
        operands: usize,
    },
    /// Something that opened at a byte of the text.
    Open {
        sign: Sign,
        at: usize,
    },
}

#[derive(Clone, Copy)]
enum Sign {
    Parenthesis,
    Bracket,
    /// Of a predicate.
    Brace,
    /// `arguments` are finished already.
    Call {
        function: Function,
        arguments: usize,
    },
}

impl Sign {
    fn open(self) -> char {
        match self {
            Sign::Parenthesis | Sign::Call { .. } => '(',
            Sign::Bracket => '[',
            Sign::Brace => '{',
        }
    }

    fn close(self) -> char {
        match self {
            Sign::Parenthesis | Sign::Call { .. } => ')',
            Sign::Bracket => ']',
            Sign::Brace => '}',
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Token<'t> {
    /// Digits with perhaps a fraction or an exponent.
    Number(&'t str),
    /// The opening quote of a string; [`Parser::string`] reads on.
    Quote,
    Word(&'t str),
    /// With its `@`.
    Special(&'t str),
    /// A sign of the language.
    Sign(&'static str),
    /// Anything else.
    Stray(char),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Number(_) => out.write_str("a number"),
            Token::Quote => out.write_str("a text"),
            Token::Word(name) | Token::Special(name) => out.write_str(&quoted(name)),
            Token::Sign(sign) => write!(out, "'{sign}'"),
            Token::Stray(c) => out.write_str(&quoted(c.encode_utf8(&mut [0; 4]))),
            Token::End => out.write_str("the end"),
        }
    }
}

/// Longer signs first, so that `==` is not read as two.
const SIGNS: [&str; 19] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", "{", "}", ",", ".", "-", "="];

const NO_CHOICE: &str = "there is no choice of two values; write conditions with '&&', '||'";

struct Parser<'t> {
    text: &'t str,
    /// The next token's first byte.
    at: usize,
    /// The next token, and the byte after it.
    next: Token<'t>,
    after: usize,
    braced: bool,
    chains: Chains,
    builder: Builder,
    done: Vec<NodeId>,
    waiting: Vec<Waiting>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, first: usize, braced: bool, chains: Chains) -> Parser<'t> {
        let mut parser = Parser {
            text,
            at: first,
            next: Token::End,
            after: first,
            braced,
            chains,
            builder: Builder::default(),
            done: Vec::new(),
            waiting: Vec::new(),
        };
        parser.advance();
        parser
    }

    fn run(mut self) -> Result<(Tree, usize), Invalid> {
        loop {
            // One operand, with what may stand before it …
            while !self.operand()? {}
            // … and what may stand after it, until another operand is due.
            loop {
                match self.continuation()? {
                    Next::Continuation => {}
                    Next::Operand => break,
                    Next::Done => return Ok((self.builder.finish(), self.at)),
                }
            }
        }
    }

    /// Reads one token where an operand is expected. True if the operand is finished.
    fn operand(&mut self) -> Result<bool, Invalid> {
        let at = self.at;
        let token = self.next;
        let node = match token {
            Token::Sign("!") => {
                self.advance();
                self.wait(Waiting::Not)?;
                return Ok(false);
            }
            Token::Sign("(") => {
                self.advance();
                self.wait(Waiting::Open { sign: Sign::Parenthesis, at })?;
                return Ok(false);
            }
            Token::Sign("-") => {
                self.advance();
                let Token::Number(digits) = self.next else {
                    return Err(self.invalid(at, "a '-' stands before a number only; there is no arithmetic"));
                };
                if self.at > at + 1 {
                    return Err(self.invalid(at, "a '-' stands directly before its number"));
                }
                let node = number(&format!("-{digits}"));
                self.advance();
                self.push(node);
                if let Token::Sign("." | "[") = self.next {
                    return Err(self.expected("a negative number in parentheses before this"));
                }
                return Ok(true);
            }
            Token::Number(digits) => {
                self.advance();
                number(digits)
            }
            Token::Quote => {
                let text = self.string()?;
                Node::Str(self.builder.text(text))
            }
            Token::Special(name) => {
                let special = check::special(name)
                    .map_err(|_| self.invalid(at, format_args!("unknown special variable {}", quoted(name))))?;
                self.advance();
                Node::Special(special)
            }
            Token::Word(word) => {
                self.advance();
                if word == "not" && self.begins_operand() {
                    return Err(self.invalid(at, "a 'not' without parentheses; write '!' or 'not(x)'"));
                }
                match word {
                    "null" => Node::Null,
                    "true" => Node::Bool(true),
                    "false" => Node::Bool(false),
                    _ if self.next == Token::Sign("(") => return self.call(word, at),
                    _ => Node::Ref(self.builder.symbol(word)),
                }
            }
            Token::Sign("{") => {
                return Err(self.invalid(at, "braces stand around the predicate of any, all and filter only"));
            }
            Token::Sign(_) | Token::Stray(_) | Token::End => return Err(self.expected("an expression")),
        };
        self.push(node);
        Ok(true)
    }

    /// True if the next token can only begin an operand.
    fn begins_operand(&self) -> bool {
        match self.next {
            Token::Number(_) | Token::Quote | Token::Special(_) => true,
            Token::Word(word) => word != "instanceof",
            _ => false,
        }
    }

    /// Opens a call; its `(` is the next token.
    fn call(&mut self, name: &str, at: usize) -> Result<bool, Invalid> {
        let Some(function) = Function::from_name(name) else {
            return Err(self.invalid(at, format_args!("unknown function {}", quoted(name))));
        };
        let opening = self.at;
        self.advance();
        if self.next == Token::Sign(")") {
            return Err(self.miscounted(function));
        }
        self.wait(Waiting::Open { sign: Sign::Call { function, arguments: 0 }, at: opening })?;
        Ok(false)
    }

    /// Reads one token after an operand.
    fn continuation(&mut self) -> Result<Next, Invalid> {
        let at = self.at;
        match self.next {
            Token::Sign(".") => self.member(),
            Token::Sign("[") => {
                self.advance();
                self.wait(Waiting::Open { sign: Sign::Bracket, at })?;
                Ok(Next::Operand)
            }
            Token::Sign("(") => Err(self.invalid(at, "only the functions of the language can be called")),
            Token::Sign("&&") => self.infix(Infix::Logic(Logic::And)),
            Token::Sign("||") => self.infix(Infix::Logic(Logic::Or)),
            Token::Sign(sign @ ("==" | "!=")) if self.text[at..].starts_with(&[sign, "="].concat()) => {
                Err(self.invalid(at, format_args!("there is no '{sign}='; write '{sign}'")))
            }
            Token::Sign("==") => self.infix(Infix::Binary(Binary::Eq)),
            Token::Sign("!=") => self.infix(Infix::Binary(Binary::Ne)),
            Token::Sign("<") => self.infix(Infix::Binary(Binary::Lt)),
            Token::Sign("<=") => self.infix(Infix::Binary(Binary::Le)),
            Token::Sign(">") => self.infix(Infix::Binary(Binary::Gt)),
            Token::Sign(">=") => self.infix(Infix::Binary(Binary::Ge)),
            Token::Word("instanceof") => self.instance_of(),
            Token::Word("and") => Err(self.invalid(at, "there is no 'and'; write '&&'")),
            Token::Word("or") => Err(self.invalid(at, "there is no 'or'; write '||'")),
            Token::Word("is") => Err(self.invalid(at, "there is no 'is'; write '==', or '!=' for 'is not'")),
            Token::Word("in" | "not") => {
                Err(self.invalid(at, "there is no 'in'; write 'contains(collection, element)'"))
            }
            Token::Word("if") => Err(self.invalid(at, NO_CHOICE)),
            Token::Sign(",") => self.comma(),
            Token::Sign(")") => self.close(')'),
            Token::Sign("]") => self.close(']'),
            Token::Sign("}") => self.close('}'),
            Token::End => self.end(),
            Token::Sign("=") => Err(self.invalid(at, "a single '='; write '==' to compare")),
            Token::Stray('?') => Err(self.question(at)),
            Token::Sign("-") | Token::Stray('+' | '*' | '/' | '%') => Err(self.invalid(at, "there is no arithmetic")),
            Token::Stray(c @ ('&' | '|')) => Err(self.invalid(at, format_args!("a single '{c}'; write '{c}{c}'"))),
            _ => Err(self.expected("an operator or the end")),
        }
    }

    /// Says what stands for what other languages write with a question mark.
    fn question(&self, at: usize) -> Invalid {
        let rest = &self.text[at..];
        if rest.starts_with("??") {
            return self.invalid(at, "there is no '??'; ask whether a value is there by isDefined(x)");
        }
        if rest.starts_with("?.") {
            return self.invalid(at, "there is no '?.'; write '.', after isDefined(x) && where it may not be there");
        }
        self.invalid(at, NO_CHOICE)
    }

    /// Reads `.name`.
    fn member(&mut self) -> Result<Next, Invalid> {
        self.advance();
        // A private member of JavaScript has its sign before its name.
        let (from, is_private) = (self.at, self.next == Token::Stray('#'));
        if is_private
            && self.text[self.after..].starts_with(|next: char| next.is_alphabetic() || matches!(next, '_' | '$'))
        {
            self.advance();
        }
        let Token::Word(_) = self.next else {
            return Err(self.expected("the name of a member"));
        };
        let name = &self.text[from..self.after];
        self.advance();
        if self.next == Token::Sign("(") {
            return Err(self.invalid(self.at, "methods of values are never called"));
        }
        let symbol = self.builder.symbol(name);
        let of = self.pop();
        self.push(Node::Member(of, symbol));
        Ok(Next::Continuation)
    }

    /// Reads an infix operator, whose right operand comes next.
    fn infix(&mut self, infix: Infix) -> Result<Next, Invalid> {
        let operands = self.chain(infix)? + 1;
        self.advance();
        self.wait(Waiting::Infix { infix, operands })?;
        Ok(Next::Operand)
    }

    /// Reads `instanceof "Class"`.
    fn instance_of(&mut self) -> Result<Next, Invalid> {
        self.chain(Infix::InstanceOf(0))?;
        self.advance();
        let name = self.class_name()?;
        self.wait(Waiting::Infix { infix: Infix::InstanceOf(name), operands: 1 })?;
        Ok(Next::Continuation)
    }

    /// Builds what binds tighter than an operator that follows. Gives the operands but the last of a flat chain that
    /// goes on with it.
    fn chain(&mut self, infix: Infix) -> Result<usize, Invalid> {
        let level = infix.level();
        loop {
            match self.waiting.last() {
                Some(Waiting::Not) => {}
                Some(&Waiting::Infix { infix: last, operands }) if last.level() >= level => {
                    if last.level() == level {
                        if level >= Level::Equality {
                            return Err(self.invalid(self.at, "comparisons do not chain; use '&&' or parentheses"));
                        }
                        if self.chains == Chains::Flat {
                            self.waiting.pop();
                            return Ok(operands);
                        }
                    }
                }
                _ => return Ok(0),
            }
            self.build_last();
        }
    }

    /// Builds the operator that waits last, if one does.
    fn build_last(&mut self) -> bool {
        match self.waiting.last() {
            Some(Waiting::Not) => {
                let of = self.pop();
                self.push(Node::Unary(Unary::Not, of));
            }
            Some(&Waiting::Infix { infix: Infix::Binary(op), .. }) => {
                let right = self.pop();
                let left = self.pop();
                self.push(Node::Binary(op, left, right));
            }
            Some(&Waiting::Infix { infix: Infix::InstanceOf(name), .. }) => {
                let of = self.pop();
                self.push(Node::InstanceOf(of, name));
            }
            Some(&Waiting::Infix { infix: Infix::Logic(op), operands }) => {
                let first = self.done.len().saturating_sub(operands + 1);
                let node = self.builder.logic(op, &self.done[first..]);
                self.done.truncate(first);
                self.done.push(node);
            }
            Some(Waiting::Open { .. }) | None => return false,
        }
        self.waiting.pop();
        true
    }

    /// Builds all operators back to what opened last, and gives that.
    fn innermost(&mut self) -> Option<(Sign, usize)> {
        while self.build_last() {}
        match self.waiting.last() {
            Some(&Waiting::Open { sign, at }) => Some((sign, at)),
            _ => None,
        }
    }

    /// Reads the comma after an argument.
    fn comma(&mut self) -> Result<Next, Invalid> {
        let Some((Sign::Call { function, arguments }, at)) = self.innermost() else {
            return Err(self.expected("an operator or the end"));
        };
        let arguments = arguments + 1;
        let most = match function {
            Function::Unary(_) => 1,
            Function::Substring => 3,
            Function::Binary(_) | Function::Quantifier(_) | Function::InstanceOf => 2,
        };
        if arguments == most {
            return Err(self.miscounted(function));
        }
        self.advance();
        self.waiting.pop();
        if let Function::InstanceOf = function {
            let name = self.class_name()?;
            if self.next != Token::Sign(")") {
                return Err(self.expected("')'"));
            }
            self.advance();
            let of = self.pop();
            self.push(Node::InstanceOf(of, name));
            return Ok(Next::Continuation);
        }
        self.wait(Waiting::Open { sign: Sign::Call { function, arguments }, at })?;
        if let Function::Quantifier(op) = function {
            let at = self.at;
            if self.next != Token::Sign("{") {
                let what = format!("the predicate of '{}' stands in braces: {}", op.name(), function.usage());
                return Err(self.invalid(at, what));
            }
            self.advance();
            self.wait(Waiting::Open { sign: Sign::Brace, at })?;
        }
        Ok(Next::Operand)
    }

    /// Reads a closing sign.
    fn close(&mut self, sign: char) -> Result<Next, Invalid> {
        let Some((open, at)) = self.innermost() else {
            if self.braced && sign == '}' {
                return Ok(Next::Done);
            }
            return Err(self.invalid(self.at, format_args!("'{sign}' closes nothing")));
        };
        if open.close() != sign {
            return Err(self.unclosed(open, at));
        }
        let closing = self.at;
        self.advance();
        self.waiting.pop();
        match open {
            Sign::Parenthesis => {}
            Sign::Bracket => {
                let key = self.pop();
                let of = self.pop();
                self.push(Node::Binary(Binary::Index, of, key));
            }
            Sign::Brace => {
                if self.next != Token::Sign(")") {
                    return Err(self.expected("')' after the predicate"));
                }
            }
            Sign::Call { function, arguments } => self.called(function, arguments + 1, closing)?,
        }
        Ok(Next::Continuation)
    }

    /// Builds a call whose `)` was read.
    fn called(&mut self, function: Function, arguments: usize, at: usize) -> Result<(), Invalid> {
        let last = self.pop();
        let node = match (function, arguments) {
            (Function::Unary(op), 1) => Node::Unary(op, last),
            (Function::Binary(op), 2) => Node::Binary(op, self.pop(), last),
            (Function::Quantifier(op), 2) => Node::Quantifier(op, self.pop(), last),
            (Function::Substring, 2) => Node::Substring(self.pop(), last, None),
            (Function::Substring, 3) => {
                let from = self.pop();
                Node::Substring(self.pop(), from, Some(last))
            }
            _ => return Err(self.invalid(at, miscounted(function))),
        };
        self.push(node);
        Ok(())
    }

    fn end(&mut self) -> Result<Next, Invalid> {
        match self.innermost() {
            Some((open, at)) => Err(self.unclosed(open, at)),
            None if self.braced => Err(self.expected("'}'")),
            None => Ok(Next::Done),
        }
    }

    /// Reads the literal name of a class.
    fn class_name(&mut self) -> Result<u32, Invalid> {
        if self.next != Token::Quote {
            return Err(self.expected("the name of a class in quotes"));
        }
        let at = self.at;
        let name = self.string()?;
        if name.is_empty() {
            return Err(self.invalid(at, "an empty class name"));
        }
        Ok(self.builder.text(name))
    }

    fn push(&mut self, node: Node) {
        let id = self.builder.node(node);
        self.done.push(id);
    }

    /// Takes the last finished operand. Each thing waits only for operands that are finished by then.
    fn pop(&mut self) -> NodeId {
        self.done.pop().unwrap_or_default()
    }

    fn wait(&mut self, waiting: Waiting) -> Result<(), Invalid> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(self.invalid(self.at, format_args!("it is nested deeper than {MAX_DEPTH} levels")));
        }
        self.waiting.push(waiting);
        Ok(())
    }

    /// Goes on to the next token.
    fn advance(&mut self) {
        let rest = &self.text[self.after..];
        let rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.at = self.text.len() - rest.len();
        let (token, len) = token(rest);
        self.next = token;
        self.after = self.at + len;
    }

    /// Reads a string to its closing quote; the opening one is the next token.
    fn string(&mut self) -> Result<String, Invalid> {
        let opening = self.at;
        let quote = if self.text[opening..].starts_with('"') { '"' } else { '\'' };
        let mut out = String::new();
        let mut at = self.after;
        loop {
            let rest = &self.text[at..];
            let plain = rest.find([quote, '\\']).unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            at += plain;
            let rest = &rest[plain..];
            if rest.starts_with(quote) {
                self.after = at + 1;
                self.advance();
                return Ok(out);
            }
            let Some(escaped) = rest.chars().nth(1) else {
                return Err(self.invalid(opening, "a text without its closing quote"));
            };
            at += 1 + escaped.len_utf8();
            match escaped {
                '"' | '\'' | '\\' => out.push(escaped),
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'u' if let Some((c, taken)) = self.unicode(rest, at)? => {
                    out.push(c);
                    at += taken - 2;
                }
                // A pattern's `\d` needs no second backslash.
                _ => out.extend(['\\', escaped]),
            }
        }
    }

    fn unicode(&self, rest: &str, at: usize) -> Result<Option<(char, usize)>, Invalid> {
        match literal::unicode_escape(rest) {
            Escape::Character(c, taken) => Ok(Some((c, taken))),
            Escape::Malformed => Ok(None),
            Escape::LoneSurrogate => Err(self.invalid(at, "a text with half of a surrogate pair")),
        }
    }

    fn invalid(&self, at: usize, what: impl fmt::Display) -> Invalid {
        invalid(self.text, at, what)
    }

    fn expected(&self, what: &str) -> Invalid {
        self.invalid(self.at, format_args!("expected {what}, found {}", self.next))
    }

    fn unclosed(&self, open: Sign, at: usize) -> Invalid {
        let column = self.text[..at].chars().count() + 1;
        self.expected(&format!("'{}' for the '{}' of column {column}", open.close(), open.open()))
    }

    fn miscounted(&self, function: Function) -> Invalid {
        self.invalid(self.at, miscounted(function))
    }
}

/// What comes after a continuation.
enum Next {
    Continuation,
    Operand,
    Done,
}

fn miscounted(function: Function) -> String {
    format!("wrong number of arguments; write {}", function.usage())
}

fn number(text: &str) -> Node {
    if text.contains(['.', 'e', 'E']) { literal::double(text) } else { literal::integer(text) }
}

/// The token at the start of a text, and its length in bytes.
fn token(rest: &str) -> (Token<'_>, usize) {
    let Some(first) = rest.chars().next() else {
        return (Token::End, 0);
    };
    if first.is_ascii_digit() {
        let len = number_length(rest);
        return (Token::Number(&rest[..len]), len);
    }
    if first == '"' || first == '\'' {
        return (Token::Quote, 1);
    }
    if check::begins_identifier(first) {
        let word = word(rest);
        return (Token::Word(word), word.len());
    }
    if first == '@' {
        let len = 1 + word(&rest[1..]).len();
        return (Token::Special(&rest[..len]), len);
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => (Token::Sign(sign), sign.len()),
        None => (Token::Stray(first), first.len_utf8()),
    }
}

/// The identifier characters at the start of a text.
fn word(rest: &str) -> &str {
    let end = rest.find(|c| !check::continues_identifier(c)).unwrap_or(rest.len());
    &rest[..end]
}

/// The length of `digits [ "." digits ] [ ("e" | "E") [ "+" | "-" ] digits ]`.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut len = digits(0);
    if bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
        len += 1 + digits(len + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(len) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::expr::print::print;

    #[track_caller]
    fn says(text: &str, what: &str) {
        assert_eq!(parse(text).map(|tree| print(&tree)).unwrap_err().0, format!("Invalid expression: {what}"));
    }

    #[track_caller]
    fn reads(text: &str, printed: &str) {
        assert_eq!(print(&parse(text).unwrap()), printed);
    }

    #[test]
    fn errors_name_the_place() {
        says("", "expected an expression, found the end (column 1)");
        says("a &&", "expected an expression, found the end (column 5)");
        says("é && )", "expected an expression, found ')' (column 6)");
        says("(a && b", "expected ')' for the '(' of column 1, found the end (column 8)");
        says("a[1)", "expected ']' for the '[' of column 2, found ')' (column 4)");
        says("a)", "')' closes nothing (column 2)");
        says("s == \"abc", "a text without its closing quote (column 6)");
        says("s == \"abc\\", "a text without its closing quote (column 6)");
        says("a b", "expected an operator or the end, found 'b' (column 3)");
        says("a = 1", "a single '='; write '==' to compare (column 3)");
        says("a & b", "a single '&'; write '&&' (column 3)");
        says("a + 1", "there is no arithmetic (column 3)");
        says("a - 1", "there is no arithmetic (column 3)");
        says("-x", "a '-' stands before a number only; there is no arithmetic (column 1)");
        says("x == - 1", "a '-' stands directly before its number (column 6)");
        says("-1.a", "expected a negative number in parentheses before this, found '.' (column 3)");
        says("user.getName()", "methods of values are never called (column 13)");
        says("a[0](1)", "only the functions of the language can be called (column 5)");
        says("upper(s)", "unknown function 'upper' (column 1)");
        says("a ? b : c", "there is no choice of two values; write conditions with '&&', '||' (column 3)");
        says("a ?? b", "there is no '??'; ask whether a value is there by isDefined(x) (column 3)");
        says("a?.b", "there is no '?.'; write '.', after isDefined(x) && where it may not be there (column 2)");
        says("a === 1", "there is no '==='; write '==' (column 3)");
        says("a !== 1", "there is no '!=='; write '!=' (column 3)");
        says("a ==  = 1", "expected an expression, found '=' (column 7)");
        says("this.# code", "expected the name of a member, found '#' (column 6)");
        says("#code", "expected an expression, found '#' (column 1)");
        says("1 < a < 3", "comparisons do not chain; use '&&' or parentheses (column 7)");
        says("a == b != c", "comparisons do not chain; use '&&' or parentheses (column 8)");
        says("a instanceof \"T\" < 3", "comparisons do not chain; use '&&' or parentheses (column 18)");
        says("a < b instanceof \"T\"", "comparisons do not chain; use '&&' or parentheses (column 7)");
        says("any(a, @it)", "the predicate of 'any' stands in braces: any(x, {@it > 0}) (column 8)");
        says("any(a, {@it} && b)", "expected ')' after the predicate, found '&&' (column 14)");
        says("any(a)", "wrong number of arguments; write any(x, {@it > 0}) (column 6)");
        says("len()", "wrong number of arguments; write len(x) (column 5)");
        says("len(a, b)", "wrong number of arguments; write len(x) (column 6)");
        says("contains(a)", "wrong number of arguments; write contains(x, y) (column 11)");
        says("{a}", "braces stand around the predicate of any, all and filter only (column 1)");
        says("len({a})", "braces stand around the predicate of any, all and filter only (column 5)");
        says("(a, b)", "expected an operator or the end, found ',' (column 3)");
        says("a.1", "expected the name of a member, found a number (column 3)");
        says("a.@it", "expected the name of a member, found '@it' (column 3)");
        says("x instanceof Box", "expected the name of a class in quotes, found 'Box' (column 14)");
        says("x instanceof ''", "an empty class name (column 14)");
        says("instanceof(x, \"T\", 1)", "expected ')', found ',' (column 18)");
        says("@foo == 1", "unknown special variable '@foo' (column 1)");
        says("@ == 1", "unknown special variable '@' (column 1)");
        says("@it > 1", "'@it' has a meaning in predicates only");
        says("a // b", "there is no arithmetic (column 3)");
        says("[1]", "expected an expression, found '[' (column 1)");
        says("'\\ud800'", "a text with half of a surrogate pair (column 4)");
    }

    #[test]
    fn operators_bind_as_documented() {
        reads("!a.b[0] == c || d && e < 1", "not(a.b[0]) == c || d && e < 1");
        reads("!x instanceof 'T'", "not(x) instanceof \"T\"");
        reads("(-1).a", "(-1).a");
        reads("5.a", "5.a");
        reads("1.5.a", "1.5.a");
        reads("not(!a)", "not(not(a))");
        reads("a || (b || c)", "a || (b || c)");
        reads("(a || b) || c", "a || b || c");
        reads("a == (b == c)", "a == (b == c)");
        reads("any(a,{b||c})[ -1 ]", "any(a, {b || c})[-1]");
        reads("null == a.null", "null == a.null");
        reads("this.#a.#b == 1", "this.#a.#b == 1");
        reads("instanceof.instanceof instanceof 'instanceof'", "instanceof.instanceof instanceof \"instanceof\"");
    }

    #[test]
    fn texts_are_escaped_as_documented() {
        for (text, printed) in [
            (r#"'a"b'"#, r#""a\"b""#),
            (r#""a'b""#, r#""a'b""#),
            (r#""\"\'\\\n\r\t\u00e9""#, r#""\"'\\\n\r\té""#),
            (r#""\d\u{41}\u12""#, r#""\\d\\u{41}\\u12""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            ("'\u{1}\u{85}'", r#""\u0001\u0085""#),
            ("'two\nlines'", r#""two\nlines""#),
        ] {
            reads(text, printed);
            reads(printed, printed);
        }
    }
}
