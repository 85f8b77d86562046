//! The walk under strict capture: values are sealed as they are written, and of a message's values only the type is told.
//! Beside it the commonest of what is withheld: [`super::Walker::child`] comes here with both.

use super::Walker;
use crate::capture::strict::{self, Sealed};
use crate::expr::eval::Operand;
use crate::host::Value;
use crate::record::layout::{self as lay, INLINE, NO_TYPE, word};

impl Walker<'_, '_> {
    /// A value that has the name of a secret, or that is sealed.
    #[cold]
    #[inline(never)]
    pub(super) fn guarded<'f, V: Value<'f>>(&mut self, value: V, redacted: bool, level: u32) {
        let info = value.type_info();
        if redacted {
            return self.withheld(info.id, Some(value), lay::REASON_REDACTED_IDENT);
        }
        let view = value.view();
        if !self.admits(value, info) {
            return;
        }
        let tag = super::tag_of(view);
        if self.message && !self.shows(tag) {
            return self.type_alone(tag, info.id, Some(value));
        }
        let start = self.out.buf.len();
        if !(info.labelled && !self.message && self.labelled(value, info.id)) {
            self.shown(value, info.id, view, level);
        }
        self.seal(start);
    }

    /// An entry of a map: its key is hashed in every mode, and so is what stands in it.
    #[cold]
    #[inline(never)]
    pub(super) fn sealed_entry<'f, V: Value<'f>>(&mut self, key: V, value: V, level: u32) {
        let redacted = self.is_secret(key, key.type_info(), key.view());
        let outer = std::mem::replace(&mut self.key, true);
        self.guarded(key, false, level);
        self.key = outer;
        self.child(value, redacted, level);
    }

    /// What an expression has made.
    #[cold]
    pub(super) fn sealed_operand<'f, V: Value<'f>>(&mut self, operand: &Operand<'f, V>, level: u32) {
        let tag = match operand {
            Operand::Host(value) => return self.rare_child(*value, level),
            Operand::Null => lay::NULL,
            Operand::Bool(_) => lay::TRUE,
            Operand::Int(_) => lay::INT,
            Operand::Big(_) => lay::BIG,
            Operand::Float(_) => lay::FLOAT,
            Operand::Text(_) => lay::STR_UTF8,
            Operand::List(_) => lay::LIST,
            Operand::Set(_) => lay::SET,
            Operand::Map(_) => lay::MAP,
        };
        if self.message && !self.shows(tag) {
            return self.type_alone(tag, NO_TYPE, None::<V>);
        }
        let start = self.out.buf.len();
        self.shown_operand(operand, level);
        self.seal(start);
    }

    /// True if values of a tag are shown as they are.
    fn shows(&self, tag: u8) -> bool {
        self.cx.strict.is_none_or(|rules| rules.numbers() && strict::is_number(tag))
    }

    fn type_alone<'f, V: Value<'f>>(&mut self, tag: u8, id: u32, value: Option<V>) {
        self.out.put(word(lay::SEALED, id));
        if id == INLINE {
            self.inline_type(value);
        }
        self.out.buf.put(strict::type_alone(tag));
    }

    /// Seals what was written from a place on.
    fn seal(&mut self, start: usize) {
        let Some(rules) = self.cx.strict else { return };
        let sealed = if self.key { Sealed::Key } else { Sealed::Value };
        if rules.seal(&mut self.out.buf, start, sealed).is_err() {
            // A value that cannot be read back is a mistake of ours, and must not leave.
            self.out.buf.truncate(start);
            self.out.put(word(lay::WITHHELD, NO_TYPE));
            self.out.buf.put([lay::REASON_STRICT, lay::WITHHELD]);
        }
    }
}
