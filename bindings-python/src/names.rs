//! Numbers for names and classes, as records carry them: a small cache over the session's tables, so that a field of an
//! instance costs no hashing of text. Stands on the hit's walk, beside [`crate::value`]; the tables come after.

use crate::object::{Class, Owned, Ref};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stroboscope_core::host::{Name, ThreadInfo, TypeInfo};
use stroboscope_core::record::layout::INLINE;
use stroboscope_core::record::names::{Interner, Tables};
use stroboscope_core::text::Text;

/// State that only the holder of the GIL touches, and never across a call into Python.
pub struct Held<T>(RefCell<T>);

// SAFETY: every user holds the GIL (objects, frames and callbacks exist only under it), so there is one at a time; a second
// use from within the first is refused by the `RefCell`.
unsafe impl<T> Sync for Held<T> {}

impl<T> Held<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Held(RefCell::new(value))
    }

    /// Uses it, unless it is in use.
    #[inline]
    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok().map(|mut value| use_it(&mut value))
    }
}

const CACHED_NAMES: usize = 4096;
/// A longer name is not worth keeping alive.
const LONGEST_CACHED: usize = 255;

/// What hits look at: the number of a string that is kept, by its address.
#[derive(Clone, Copy)]
struct Line {
    text: usize,
    id: u32,
    redacted: bool,
}

const UNUSED: Line = Line { text: 0, id: 0, redacted: false };

/// Read and written by the holder of the GIL only, a whole line at a time.
struct Lines(UnsafeCell<[Line; CACHED_NAMES]>);

// SAFETY: every user holds the GIL, and none keeps a reference into it.
unsafe impl Sync for Lines {}

impl Lines {
    #[inline]
    fn get(&self, place: usize) -> Line {
        // SAFETY: the GIL is held, so nobody writes; the place is in range.
        unsafe { (*self.0.get())[place % CACHED_NAMES] }
    }

    fn set(&self, place: usize, line: Line) {
        // SAFETY: the GIL is held, so nobody else reads or writes; no reference is kept anywhere.
        unsafe { (*self.0.get())[place % CACHED_NAMES] = line };
    }
}

static LINES: Lines = Lines(UnsafeCell::new([UNUSED; CACHED_NAMES]));

struct Cache {
    interner: Option<Interner>,
    /// Keeps the strings of [`LINES`] alive, so that their addresses are nobody else's.
    names: Vec<Option<Owned>>,
}

static CACHE: Held<Cache> = Held::new(Cache { interner: None, names: Vec::new() });

/// Counts the sessions, so that what threads keep from an earlier one is not used.
static SESSION: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The session, how often the name was looked for, and what was found.
    static THREAD: Cell<(u64, u32, ThreadInfo)> = const {
        Cell::new((0, 0, ThreadInfo { id: 0, name: ThreadInfo::UNNAMED }))
    };
}

/// Begins or ends the use of a session's tables. Forgets everything kept from the one before.
pub fn use_tables(tables: Option<Arc<Tables>>) {
    for place in 0..CACHED_NAMES {
        LINES.set(place, UNUSED);
    }
    SESSION.fetch_add(1, Ordering::Relaxed);
    LAST.0.set(NOBODY);
    let old = CACHE.with(|cache| {
        cache.interner = tables.map(Interner::new);
        std::mem::take(&mut cache.names)
    });
    // Strings of ours end here, outside of the borrow.
    drop(old);
    crate::classes::forget();
}

/// The tables in use.
pub fn tables() -> Option<Arc<Tables>> {
    CACHE.with(|cache| cache.interner.as_ref().map(|interner| Arc::clone(interner.tables()))).flatten()
}

/// The number of a name that an object, a dictionary or code holds.
#[inline]
pub fn name(text: Ref<'_>) -> Name<'_> {
    let place = (text.pointer() as usize >> 4) % CACHED_NAMES;
    let line = LINES.get(place);
    // A kept string is alive, so that its address is nobody else's.
    if line.text == text.pointer() as usize {
        return Name::Known { id: line.id, redacted: line.redacted };
    }
    match intern(text, place) {
        Some((id, redacted)) => Name::Known { id, redacted },
        None => Name::Text(text_of(text)),
    }
}

/// The text of a name that has no number.
#[cold]
#[inline(never)]
fn text_of(name: Ref<'_>) -> Text<'_> {
    name.text().unwrap_or(Text::Utf8(""))
}

/// True if what has this name is withheld.
pub fn is_redacted(name_of: Ref<'_>) -> bool {
    match name(name_of) {
        Name::Known { redacted, .. } => redacted,
        Name::Text(text) => tables().is_some_and(|tables| tables.redaction().name_text(text)),
    }
}

/// Looks for a name's number where it takes longer. It is given in a register: a [`Name`] would go through memory.
#[cold]
#[inline(never)]
fn intern(object: Ref<'_>, place: usize) -> Option<(u32, bool)> {
    let text = object.text()?;
    let known = CACHE.with(|cache| cache.interner.as_mut().and_then(|interner| interner.name(text)));
    let (id, redacted) = known.flatten()?;
    if object.is_text() && text.len() <= LONGEST_CACHED {
        let kept = Owned::keep(object);
        let replaced = CACHE.with(|cache| {
            if cache.names.is_empty() {
                cache.names.resize_with(CACHED_NAMES, || None);
            }
            LINES.set(place, Line { text: object.pointer() as usize, id, redacted });
            cache.names[place].replace(kept)
        });
        drop(replaced);
    }
    Some((id, redacted))
}

/// The number of a class that is looked at for the first time, and whether it or an ancestor is redacted.
pub fn class(class: Class<'_>) -> TypeInfo {
    let Some(tables) = tables() else { return TypeInfo { id: 0, redacted: false, labelled: false } };
    let mut qualified = String::new();
    let redaction = tables.redaction();
    let redacted = redaction.has_types()
        && class.ancestors().any(|ancestor| {
            qualify(ancestor, &mut qualified);
            redaction.type_names(Text::Utf8(&qualified), ancestor.bare_name())
                || redaction.type_names(ancestor.qualified_name(), ancestor.bare_name())
        });
    qualify(class, &mut qualified);
    let id = CACHE.with(|cache| {
        let interner = cache.interner.as_mut()?;
        Some(interner.type_id(Text::Utf8(&qualified), shown(class), redacted))
    });
    TypeInfo { id: id.flatten().unwrap_or(INLINE), redacted, labelled: false }
}

/// The name that captures show as `type`: `__qualname__`. A class that was made without a name has that of its nearest
/// ancestor.
pub fn shown(class: Class<'_>) -> Text<'_> {
    class.ancestors().map(Class::qualified_name).find(|name| !name.is_empty()).unwrap_or(Text::Utf8("object"))
}

/// Writes `module.Qualified.Name`.
pub fn qualify(class: Class<'_>, out: &mut String) {
    out.clear();
    class.module().push_to(out);
    out.push('.');
    class.qualified_name().push_to(out);
}

/// The thread that was asked for last, under the number that CPython gives it and no other.
struct Last(Cell<(u64, ThreadInfo)>);

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Last {}

const NOBODY: (u64, ThreadInfo) = (0, ThreadInfo { id: 0, name: ThreadInfo::UNNAMED });

static LAST: Last = Last(Cell::new(NOBODY));

/// The current thread, which has this number (0: it is not known). To look at a thread's own memory is a call, so that is
/// left to `find`.
#[inline]
pub fn current_thread(number: u64, find: impl FnOnce() -> ThreadInfo) -> ThreadInfo {
    let (last, info) = LAST.0.get();
    if last == number && number != 0 {
        return info;
    }
    let info = find();
    if info.name != ThreadInfo::UNNAMED {
        LAST.0.set((number, info));
    }
    info
}

/// How often a thread without a name is asked again: it may get one after its first hit.
const MOST_ASKED: u32 = 32;

/// The current thread. Its name is read once per thread and session, by `find`, which runs nothing of the program.
pub fn thread(id: u64, find: impl FnOnce() -> Option<u32>) -> ThreadInfo {
    let session = SESSION.load(Ordering::Relaxed);
    THREAD.with(|kept| {
        let (of, asked, info) = kept.get();
        let asked = if of == session && info.id == id { asked } else { 0 };
        if asked > 0 && (info.name != ThreadInfo::UNNAMED || asked >= MOST_ASKED) {
            return info;
        }
        let info = ThreadInfo { id, name: named(find) };
        kept.set((session, asked + 1, info));
        info
    })
}

#[cold]
#[inline(never)]
fn named(find: impl FnOnce() -> Option<u32>) -> u32 {
    find().unwrap_or(ThreadInfo::UNNAMED)
}
