//! Names and types that occur in records, numbered once a session. It stands on the walk of a hit: a hit's context adds
//! through its [`Interner`], the worker reads by number. Both share [`Tables`] without a lock.
//!
//! A table is a list of chunks that are made once and never move or go, so a reader needs no lock and a number stays
//! valid for the session. Two contexts may give one text two numbers: harmless, and it keeps the way from text to number
//! private to a context. A full table ends growth: names and types then stand in the record as text.

use super::layout::INLINE;
use crate::capture::redact::Redaction;
use crate::text::Text;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

const CHUNK: usize = 256;
const CHUNKS: usize = 128;
/// Entries of one table: with the ways to them, what is kept of a program that makes up names or classes all the time
/// stays below 10 MiB. Names beyond it stand in records as text.
pub const MAX_ENTRIES: u32 = (CHUNK * CHUNKS) as u32;
/// A longer name is not interned, so that a full table stays small.
const MAX_NAME: usize = 256;

type Chunk<T> = Box<[OnceLock<T>]>;

/// An append-only table.
struct Table<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
    next: AtomicU32,
}

impl<T> Table<T> {
    fn new() -> Self {
        Table { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), next: AtomicU32::new(0) }
    }

    fn add(&self, entry: T) -> Option<u32> {
        let id = self.next.fetch_update(Relaxed, Relaxed, |next| (next < MAX_ENTRIES).then_some(next + 1)).ok()?;
        let chunk = self.chunks.get(id as usize / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk.get(id as usize % CHUNK)?.set(entry).ok()?;
        Some(id)
    }

    fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get(id as usize / CHUNK)?.get()?.get(id as usize % CHUNK)?.get()
    }

    fn len(&self) -> u32 {
        self.next.load(Relaxed)
    }
}

struct NameEntry {
    text: Box<str>,
    redacted: bool,
}

struct TypeEntry {
    qualified: Box<str>,
    display: Box<str>,
    redacted: bool,
}

/// The names and types of a session.
pub struct Tables {
    names: Table<NameEntry>,
    types: Table<TypeEntry>,
    redaction: Arc<Redaction>,
}

impl Tables {
    /// Empty tables, whose verdicts are those of `redaction`.
    pub fn new(redaction: Arc<Redaction>) -> Self {
        Tables { names: Table::new(), types: Table::new(), redaction }
    }

    /// The rules by which names are judged.
    pub fn redaction(&self) -> &Arc<Redaction> {
        &self.redaction
    }

    /// Adds a name without looking whether it is there: for hosts that have a map of their own (by address, say).
    /// Answers its number and whether it is redacted; `None`: the table is full or the name too long, and the name goes
    /// into records as [`crate::host::Name::Text`].
    pub fn intern_name(&self, name: Text<'_>) -> Option<(u32, bool)> {
        let text = short(name)?;
        let redacted = self.redaction.name(&text);
        let id = self.names.add(NameEntry { text: text.into_boxed_str(), redacted })?;
        Some((id, redacted))
    }

    /// Adds a type without looking whether it is there. `display` is the name to be shown as `type`. The number is
    /// [`INLINE`] if the table is full: the walk then asks [`crate::host::Value::type_names`] for the text.
    pub fn intern_type(&self, qualified: Text<'_>, display: Text<'_>, redacted: bool) -> u32 {
        let (Some(qualified), Some(display)) = (short(qualified), short(display)) else { return INLINE };
        let entry = TypeEntry { qualified: qualified.into(), display: display.into(), redacted };
        self.types.add(entry).unwrap_or(INLINE)
    }

    /// The text of a name.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id).map(|entry| &*entry.text)
    }

    /// The verdict on a name.
    pub fn name_redacted(&self, id: u32) -> Option<bool> {
        self.names.get(id).map(|entry| entry.redacted)
    }

    /// The name of a type as shown in captured values.
    pub fn type_name(&self, id: u32) -> Option<&str> {
        self.types.get(id).map(|entry| &*entry.display)
    }

    /// The name of a type with its module or package.
    pub fn qualified_type_name(&self, id: u32) -> Option<&str> {
        self.types.get(id).map(|entry| &*entry.qualified)
    }

    /// True if the type, or an ancestor of it, is redacted.
    pub fn type_redacted(&self, id: u32) -> Option<bool> {
        self.types.get(id).map(|entry| entry.redacted)
    }

    /// Numbers of names and of types.
    pub fn len(&self) -> (u32, u32) {
        (self.names.len(), self.types.len())
    }

    /// True if nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn short(text: Text<'_>) -> Option<String> {
    // A text has at most one code point a unit, so the units bound its length before it is copied.
    if let Text::Utf8(text) = text {
        return (text.len() <= MAX_NAME).then(|| text.to_owned());
    }
    (text.units() <= MAX_NAME).then(|| text.to_text())
}

/// The way from text to number, private to one hit context.
#[derive(Debug)]
pub struct Interner {
    tables: Arc<Tables>,
    names: HashMap<Box<str>, (u32, bool)>,
    types: HashMap<Box<str>, Vec<(Box<str>, u32)>>,
    scratch: String,
}

impl Interner {
    /// An empty one.
    pub fn new(tables: Arc<Tables>) -> Self {
        Interner { tables, names: HashMap::new(), types: HashMap::new(), scratch: String::new() }
    }

    /// The tables it adds to.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The number of a name and whether it is redacted; `None`: it goes into records as text.
    pub fn name(&mut self, name: Text<'_>) -> Option<(u32, bool)> {
        let key = utf8(name, &mut self.scratch)?;
        if let Some(&known) = self.names.get(key) {
            return Some(known);
        }
        let known = self.tables.intern_name(Text::Utf8(key))?;
        self.names.insert(key.into(), known);
        Some(known)
    }

    /// The number of a type, or [`INLINE`].
    pub fn type_id(&mut self, qualified: Text<'_>, display: Text<'_>, redacted: bool) -> u32 {
        let Some(key) = utf8(qualified, &mut self.scratch) else { return INLINE };
        let known = self.types.get(key).and_then(|all| all.iter().find(|(name, _)| display.same(Text::Utf8(name))));
        if let Some(&(_, id)) = known {
            return id;
        }
        let id = self.tables.intern_type(Text::Utf8(key), display, redacted);
        if id != INLINE {
            self.types.entry(key.into()).or_default().push((display.to_text().into(), id));
        }
        id
    }
}

/// The text as UTF-8, without a copy where it is UTF-8 already. `None`: longer than what is interned.
fn utf8<'a>(text: Text<'a>, scratch: &'a mut String) -> Option<&'a str> {
    if let Text::Utf8(text) = text {
        return (text.len() <= MAX_NAME).then_some(text);
    }
    if text.units() > MAX_NAME {
        return None;
    }
    scratch.clear();
    text.push_to(scratch);
    (scratch.len() <= MAX_NAME).then_some(scratch)
}

#[cfg(test)]
mod tests {
    use super::{Interner, MAX_ENTRIES, Tables};
    use crate::capture::redact::Redaction;
    use crate::record::layout::INLINE;
    use crate::text::Text;
    use std::sync::Arc;

    fn tables() -> Arc<Tables> {
        Arc::new(Tables::new(Arc::new(Redaction::new(&[], &[], &[]))))
    }

    #[test]
    fn one_text_has_one_number_in_a_context_whatever_its_storage() {
        let tables = tables();
        let mut interner = Interner::new(Arc::clone(&tables));
        let first = interner.name(Text::Utf8("total"));
        assert_eq!(first, Some((0, false)));
        assert_eq!(interner.name(Text::Latin1(b"total")), first);
        assert_eq!(interner.name(Text::Utf8("password")), Some((1, true)));
        assert_eq!(tables.name(1), Some("password"));
        let id = interner.type_id(Text::Utf8("shop.Cart"), Text::Utf8("Cart"), false);
        assert_eq!(interner.type_id(Text::Utf8("shop.Cart"), Text::Latin1(b"Cart"), false), id);
        assert_eq!((tables.type_name(id), tables.qualified_type_name(id)), (Some("Cart"), Some("shop.Cart")));
    }

    #[test]
    fn a_million_distinct_names_and_types_fill_the_tables_and_no_more() {
        let tables = tables();
        let mut interner = Interner::new(Arc::clone(&tables));
        let mut inline = 0;
        for n in 0..1_000_000_u32 {
            let name = format!("n{n}");
            inline += u32::from(interner.name(Text::Utf8(&name)).is_none());
            if n % 8 == 0 {
                inline += u32::from(interner.type_id(Text::Utf8(&name), Text::Utf8(&name), false) == INLINE);
            }
        }
        assert_eq!(tables.len(), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!(inline, 1_000_000 - MAX_ENTRIES + 125_000 - MAX_ENTRIES);
        assert_eq!((interner.names.len(), interner.types.len()), (MAX_ENTRIES as usize, MAX_ENTRIES as usize));
        assert_eq!(tables.name(MAX_ENTRIES - 1), Some(&*format!("n{}", MAX_ENTRIES - 1)));
        assert_eq!(tables.name(MAX_ENTRIES), None);
    }

    #[test]
    fn contexts_of_several_threads_share_the_tables() {
        let tables = tables();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut interner = Interner::new(Arc::clone(&tables));
                    for n in 0..2000 {
                        let name = format!("n{n}");
                        let (id, _) = interner.name(Text::Utf8(&name)).unwrap();
                        assert_eq!(tables.name(id), Some(name.as_str()));
                    }
                });
            }
        });
        assert_eq!(tables.len().0, 8000);
    }

    #[test]
    fn a_very_long_name_is_not_interned() {
        let tables = tables();
        assert_eq!(Interner::new(Arc::clone(&tables)).name(Text::Utf8(&"x".repeat(1000))), None);
        assert!(tables.is_empty());
    }
}
