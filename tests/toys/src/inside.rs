//! The inside host: the world as the core's [`Value`] and [`Frame`].

use crate::value::{Id, Made, Node, World, bare};
use std::ops::ControlFlow;
use stroboscope_core::expr::eval::Operand;
use stroboscope_core::host::{
    ActiveSpan, BigDigits, Child, DecimalDigits, Frame, Name, Section, StackFrame, Symbol, ThreadInfo, TypeInfo,
    TypeName, Value, View, Walk,
};
use stroboscope_core::record::layout::NO_TYPE;
use stroboscope_core::text::Text;

/// A value of the world.
#[derive(Clone, Copy, Debug)]
pub struct Handle<'f> {
    /// The world it is in.
    pub world: &'f World,
    /// Which it is.
    pub id: Id,
}

impl<'f> Handle<'f> {
    fn node(self) -> &'f Node {
        self.world.node(self.id)
    }

    fn to(self, id: Id) -> Handle<'f> {
        Handle { world: self.world, id }
    }

    fn field(self, fields: &[(String, Id)], getters: &[String], name: &str) -> Child<Self> {
        if let Some((_, id)) = fields.iter().find(|(known, _)| known == name) {
            return Child::Present(self.to(*id));
        }
        if getters.iter().any(|known| known == name) { Child::Computed } else { Child::Absent }
    }
}

/// Visits two children.
fn pausing<T>(children: &[T], mark: usize, visit: impl FnMut(&T) -> ControlFlow<()>) -> Walk {
    match children.iter().skip(mark).take(2).try_for_each(visit) {
        ControlFlow::Break(()) => Walk::Stopped,
        ControlFlow::Continue(()) if mark + 2 > children.len() => Walk::Complete,
        ControlFlow::Continue(()) => Walk::Paused(mark + 2),
    }
}

impl<'f> Value<'f> for Handle<'f> {
    fn view(self) -> View<'f> {
        match self.node() {
            Node::Undefined => View::Undefined,
            Node::Null => View::Null,
            Node::Bool(value) => View::Bool(*value),
            Node::Int(value) => View::Int(*value),
            Node::Big { value, digits, bits } => {
                View::Big(BigDigits { negative: value.sign() == num_bigint::Sign::Minus, digits, bits: *bits })
            }
            Node::Float(value) => View::Float(*value),
            Node::Decimal { negative, words, exponent, .. } => {
                View::Decimal(DecimalDigits { negative: *negative, words, exponent: *exponent })
            }
            Node::Str(text) => View::Str(text.text()),
            Node::Bytes(bytes) => View::Bytes(bytes),
            Node::List(elements) => View::List(elements.len()),
            Node::Set(members) => View::Set(members.len()),
            Node::Map { entries, record } => View::Map { len: entries.len(), record: *record },
            Node::Object { .. } => View::Object,
            Node::Exception { .. } => View::Exception,
            Node::Enum { .. } => View::Enum,
            Node::Function(_) => View::Function,
            Node::Iterator => View::Iterator,
            Node::Opaque => View::Opaque,
            Node::Unreadable => View::Unreadable("it cannot be read"),
            Node::Complex(real, imaginary) => View::Complex(*real, *imaginary),
            Node::Scalar { .. } => View::Scalar,
            Node::Named { fields, .. } => View::Named(fields.len()),
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } | Node::Changing(of) => {
                self.to(*of).view()
            }
        }
    }

    fn identity(self) -> u64 {
        u64::from(self.id)
    }

    fn type_info(self) -> TypeInfo {
        match self.world.classes.get(self.world.class_of(self.id) as usize) {
            Some(class) => {
                let labelled = matches!(self.node(), Node::Shown { .. });
                TypeInfo { id: class.number, redacted: class.redacted, labelled }
            }
            None => TypeInfo { id: NO_TYPE, redacted: false, labelled: false },
        }
    }

    fn type_names<F: FnMut(TypeName<'_>) -> ControlFlow<()>>(self, mut visit: F) {
        for name in self.world.class_names(self.id) {
            let bare = Text::Utf8(bare(&name));
            let name = TypeName { qualified: Text::Utf8(&name), display: bare, bare };
            if visit(name).is_break() {
                return;
            }
        }
    }

    fn element(self, index: usize) -> Child<Self> {
        match self.node() {
            Node::List(elements) => elements.get(index).map_or(Child::Absent, |id| Child::Present(self.to(*id))),
            Node::Named { fields, .. } => {
                fields.get(index).map_or(Child::Absent, |(_, id)| Child::Present(self.to(*id)))
            }
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } => self.to(*of).element(index),
            _ => Child::Absent,
        }
    }

    fn element_name(self, index: usize) -> Option<Text<'f>> {
        match self.node() {
            Node::Named { fields, .. } => fields.get(index).map(|(name, _)| Text::Utf8(name)),
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } => {
                self.to(*of).element_name(index)
            }
            _ => None,
        }
    }

    fn elements<F: FnMut(Self) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let elements = match self.node() {
            Node::List(elements) | Node::Set(elements) => elements,
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } => {
                return self.to(*of).elements(visit);
            }
            Node::Changing(of) => {
                self.to(*of).elements(visit);
                return Walk::Changed;
            }
            Node::Named { fields, .. } => {
                let visited = fields.iter().try_for_each(|(_, id)| visit(self.to(*id)));
                return if visited.is_break() { Walk::Stopped } else { Walk::Complete };
            }
            _ => return Walk::Complete,
        };
        match elements.iter().try_for_each(|id| visit(self.to(*id))) {
            ControlFlow::Break(()) => Walk::Stopped,
            ControlFlow::Continue(()) => Walk::Complete,
        }
    }

    fn elements_from<F: FnMut(Self) -> ControlFlow<()>>(self, mark: usize, mut visit: F) -> Walk {
        let (Node::List(elements) | Node::Set(elements), true) = (self.node(), self.world.pauses) else {
            return self.elements(visit);
        };
        pausing(elements, mark, |id| visit(self.to(*id)))
    }

    fn entries_from<F: FnMut(Self, Self) -> ControlFlow<()>>(self, mark: usize, mut visit: F) -> Walk {
        let (Node::Map { entries, .. }, true) = (self.node(), self.world.pauses) else {
            return self.entries(visit);
        };
        pausing(entries, mark, |(key, value)| visit(self.to(*key), self.to(*value)))
    }

    fn entries<F: FnMut(Self, Self) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let entries = match self.node() {
            Node::Map { entries, .. } => entries,
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } => {
                return self.to(*of).entries(visit);
            }
            Node::Changing(of) => {
                self.to(*of).entries(visit);
                return Walk::Changed;
            }
            _ => return Walk::Complete,
        };
        match entries.iter().try_for_each(|(key, value)| visit(self.to(*key), self.to(*value))) {
            ControlFlow::Break(()) => Walk::Stopped,
            ControlFlow::Continue(()) => Walk::Complete,
        }
    }

    /// Quick for records only, so that both ways of the core are used.
    fn lookup(self, key: Text<'_>) -> Option<Child<Self>> {
        let Node::Map { entries, record: true } = self.node() else { return None };
        let found = entries
            .iter()
            .find(|(known, _)| matches!(self.world.node(*known), Node::Str(text) if text.text().same(key)));
        Some(found.map_or(Child::Absent, |(_, value)| Child::Present(self.to(*value))))
    }

    fn fields<F: FnMut(Name<'f>, Child<Self>) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let (fields, getters) = match self.node() {
            Node::Object { fields, getters, .. } | Node::Exception { fields, getters, .. } => {
                (fields, getters.as_slice())
            }
            Node::Named { fields, .. } | Node::Extended { fields, .. } => (fields, &[][..]),
            Node::Typed { of, .. } | Node::Shown { of, .. } => return self.to(*of).fields(visit),
            Node::Changing(of) => {
                self.to(*of).fields(visit);
                return Walk::Changed;
            }
            _ => return Walk::Complete,
        };
        let child = |id: Id| match self.world.node(id) {
            Node::Unreadable => Child::Failed("the field is not readable"),
            _ => Child::Present(self.to(id)),
        };
        let visited = fields
            .iter()
            .try_for_each(|(name, id)| visit(Name::Text(Text::Utf8(name)), child(*id)))
            .is_continue()
            && getters.iter().try_for_each(|name| visit(Name::Text(Text::Utf8(name)), Child::Computed)).is_continue();
        if visited { Walk::Complete } else { Walk::Stopped }
    }

    fn member(self, name: &str) -> Child<Self> {
        match self.node() {
            Node::Object { fields, getters, .. } | Node::Exception { fields, getters, .. } => {
                self.field(fields, getters, name)
            }
            Node::Named { fields, .. } => self.field(fields, &[], name),
            Node::Enum { name: label, value, .. } => match name {
                "name" => Child::Present(self.to(*label)),
                "value" => Child::Present(self.to(*value)),
                _ => Child::Absent,
            },
            _ => {
                let extra = self.world.extra.iter().find(|(of, known, _)| *of == self.id && *known == name);
                extra.map_or(Child::Absent, |(_, _, member)| Child::Present(self.to(*member)))
            }
        }
    }

    fn message(self) -> Option<Self> {
        match self.node() {
            Node::Exception { message, .. } => Some(self.to(*message)),
            _ => None,
        }
    }

    fn label(self, out: &mut String) {
        match self.node() {
            Node::Function(name) => out.push_str(name),
            Node::Scalar { text, .. } | Node::Shown { text, .. } => out.push_str(text),
            Node::Typed { of, .. } => self.to(*of).label(out),
            Node::Enum { name, .. } => {
                if let Node::Str(text) = self.world.node(*name) {
                    text.text().push_to(out);
                }
            }
            _ => {}
        }
    }
}

/// The place of a hit: every variable of the world is in reach.
#[derive(Clone, Copy, Debug)]
pub struct Place<'f>(pub &'f World);

impl<'f> Frame<'f> for Place<'f> {
    type Value = Handle<'f>;

    fn variable(&self, symbol: Symbol<'_>) -> Child<Handle<'f>> {
        self.0.var(symbol.name).map_or(Child::Absent, |id| Child::Present(Handle { world: self.0, id }))
    }

    fn section<F: FnMut(Name<'f>, Handle<'f>) -> ControlFlow<()>>(&self, section: Section, mut visit: F) {
        if section != Section::Arguments {
            return;
        }
        for (name, id) in self.0.vars.iter().filter(|(name, _)| !name.starts_with('@')) {
            if visit(Name::Text(Text::Utf8(name)), Handle { world: self.0, id: *id }).is_break() {
                return;
            }
        }
    }

    fn stack(&self, _frames: &mut [StackFrame]) -> usize {
        0
    }

    fn thread(&self) -> ThreadInfo {
        ThreadInfo::default()
    }

    fn active_span(&self) -> ActiveSpan {
        self.0.active
    }

    fn has_tracer(&self) -> bool {
        self.0.tracer
    }
}

/// What the core made, to be compared with what the outside host makes.
pub fn made(operand: &Operand<'_, Handle<'_>>) -> Made {
    match operand {
        Operand::Host(value) => Made::Node(value.id),
        Operand::Null => Made::Null,
        Operand::Bool(value) => Made::Bool(*value),
        Operand::Int(value) => Made::Int((*value).into()),
        Operand::Big(value) => Made::Int((**value).clone()),
        Operand::Float(value) => Made::Float(*value),
        Operand::Text(text) => Made::Str(text.to_text()),
        Operand::List(elements) => Made::List(elements.iter().map(made).collect()),
        Operand::Set(members) => Made::Set(members.iter().map(|member| member.id).collect()),
        Operand::Map(entries) => Made::Map(entries.iter().map(|(key, value)| (key.id, value.id)).collect()),
    }
}
