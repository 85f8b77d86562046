//! Captured values as JSON (*Signals and upload* 2.1 to 2.7), straight from the record's bytes. It stands on the walk of a
//! hit, on the worker: [`crate::record::read`] before, [`super::render`] around it. It costs a few nanoseconds a value,
//! so names and types are spelled once a session and the common kinds of values are read without a detour.

use super::event::SpanKind;
use super::health::{LACKS_TEXT, lacks};
use super::json::{self, Fragment, Json, WIDTH, begins_plain, is_plain};
use super::keys::{Siblings, is_key};
use super::language::Profile;
use super::message::unknown;
use super::number::{self, Digits};
use crate::error::{Error, ErrorKind, Result};
use crate::record::layout as lay;
use crate::record::names::Tables;
use crate::record::read::{self, Children, Content, NameRef, Reader, Stored};

/// Names whose spelling is kept: the first ones of the tables. A program that has more spells the others each time, so that
/// what is kept stays below 2 MiB.
const KEYS_KEPT: u32 = 16_384;
/// The same for types.
const TYPES_KEPT: u32 = 4_096;

/// What stands in JSON for the names and types of a session's tables, by number; empty: not spelled yet.
pub struct Spellings {
    profile: &'static Profile,
    /// `,"name":`
    keys: Vec<Fragment>,
    types: Vec<TypeText>,
    /// The language's own types, by tag.
    kinds: [TypeText; KINDS],
    /// The last name and the last type that are not kept.
    seldom: (Fragment, TypeText),
    /// What ends a string: the language's quote, JSON's, and the object's bracket; and how many bytes they are.
    end: ([u8; 4], usize),
    /// A number's text.
    scratch: String,
}

/// Tags of values.
const KINDS: usize = lay::WITHHELD as usize + 1;

/// How a value of a type begins.
#[derive(Default)]
struct TypeText {
    /// `{"type":"Name"`, or `{` where the type has no name.
    open: Fragment,
    /// The same and `,"value":"`.
    scalar: Fragment,
    /// The same and the language's quote.
    text: Fragment,
}

impl TypeText {
    #[cold]
    fn of(name: &str, quote: Option<u8>) -> Self {
        let open = |json: &mut Json<'_>| {
            json.put(b"{");
            if !name.is_empty() {
                json.text(b",\"type\":", name);
            }
        };
        let scalar = |json: &mut Json<'_>| {
            open(json);
            json.next(b",\"value\":\"");
        };
        let text = Fragment::of(|json| {
            scalar(json);
            json.raw(quote.as_slice());
        });
        TypeText { open: Fragment::of(open), scalar: Fragment::of(scalar), text }
    }
}

impl Spellings {
    /// Those of a language, nothing spelled.
    pub fn new(profile: &'static Profile) -> Self {
        let kinds = std::array::from_fn(|tag| {
            TypeText::of(profile.type_names.get(tag).copied().unwrap_or_default(), profile.quote)
        });
        let end = match profile.quote {
            Some(quote) => ([quote, b'"', b'}', 0], 3),
            None => ([b'"', b'}', 0, 0], 2),
        };
        Spellings {
            end,
            profile,
            keys: Vec::new(),
            types: Vec::new(),
            kinds,
            seldom: Default::default(),
            scratch: String::new(),
        }
    }

    /// The language.
    pub fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// A name as a key that is not known yet.
    #[inline(never)]
    fn key(&mut self, argument: u32, text: &str, tables: &Tables) -> Result<&Fragment> {
        let name = match argument {
            lay::INLINE => text,
            lay::NO_TYPE => "",
            id => tables.name(id).ok_or_else(|| unknown("name", id))?,
        };
        // What is not plain is looked at among its siblings, each time.
        if argument >= KEYS_KEPT || !is_key(name) {
            self.seldom.0 = spelled_key(name);
            return Ok(&self.seldom.0);
        }
        add_spelling(&mut self.keys, argument, spelled_key(name));
        self.keys.get(argument as usize).ok_or_else(|| unknown("name", argument))
    }

    /// How the value begins whose word was just read: its tag, and its type's argument.
    #[inline]
    fn class(&mut self, (tag, argument): Class, reader: &mut Reader<'_>, tables: &Tables) -> Result<&TypeText> {
        if !self.knows(argument) {
            let text = reader.inline_of(argument)?;
            return self.class_of(tag, argument, text, tables);
        }
        self.types.get(argument as usize).ok_or_else(|| unknown("type", argument))
    }

    /// True if the type of a number is spelled.
    #[inline]
    fn knows(&self, argument: u32) -> bool {
        self.types.get(argument as usize).is_some_and(|text| !text.open.is_empty())
    }

    /// The same by what was read.
    #[inline(never)]
    fn class_of(&mut self, tag: u8, argument: u32, text: &str, tables: &Tables) -> Result<&TypeText> {
        let name = match argument {
            // A tag may be any byte where it says what was withheld; the last kind has no name.
            lay::NO_TYPE => return Ok(&self.kinds[usize::from(tag).min(KINDS - 1)]),
            lay::INLINE => text,
            id => tables.type_name(id).ok_or_else(|| unknown("type", id))?,
        };
        if argument >= TYPES_KEPT {
            self.seldom.1 = TypeText::of(name, self.profile.quote);
            return Ok(&self.seldom.1);
        }
        if !self.knows(argument) {
            add_spelling(&mut self.types, argument, TypeText::of(name, self.profile.quote));
        }
        self.types.get(argument as usize).ok_or_else(|| unknown("type", argument))
    }
}

/// A value's tag, and its type's argument.
type Class = (u8, u32);

/// Keeps a spelling. Whoever spells has found the number in a table, so it is below the table's length.
#[cold]
fn add_spelling<T: Default>(known: &mut Vec<T>, id: u32, text: T) {
    let index = id as usize;
    if known.len() <= index {
        known.resize_with(index + 1, T::default);
    }
    if let Some(place) = known.get_mut(index) {
        *place = text;
    }
}

/// A name as a key: a dot would be taken for nesting.
#[cold]
fn spelled_key(name: &str) -> Fragment {
    Fragment::of(|json| {
        json.put(b",");
        if name.contains('.') {
            json.string(&name.replace('.', "_"));
        } else {
            json.string(name);
        }
        json.put(b":");
    })
}

/// The text of a name.
pub(super) fn text_of<'a>(tables: &'a Tables, name: NameRef<'a>) -> Result<&'a str> {
    match name {
        NameRef::Implied => Ok(""),
        NameRef::Text(text) => Ok(text),
        NameRef::Id(id) => tables.name(id).ok_or_else(|| unknown("name", id)),
    }
}

/// One value as JSON by itself.
pub fn value_alone(reader: &mut Reader<'_>, tables: &Tables, profile: &'static Profile) -> Result<Vec<u8>> {
    let mut spellings = Spellings::new(profile);
    let mut result = Ok(());
    let text = Json::text_of(|json| {
        result = Values { tables, spellings: &mut spellings }.value(json, reader, None, 0, 0);
    });
    result.map(|()| text)
}

/// Where children stand.
#[derive(Clone, Copy)]
struct Inside {
    /// The container's span and level.
    span: usize,
    level: u32,
    /// Their own nesting.
    depth: u32,
}

/// Writes values as JSON.
pub(super) struct Values<'a> {
    /// The session's names and types.
    pub tables: &'a Tables,
    /// What was spelled so far.
    pub spellings: &'a mut Spellings,
}

impl Values<'_> {
    /// Writes a name as a key, after a comma.
    #[inline]
    pub fn key(&mut self, json: &mut Json<'_>, argument: u32, text: &str) -> Result<()> {
        if let Some(known) = self.spellings.keys.get(argument as usize).filter(|key| !key.is_empty()) {
            json.fragment(known);
            return Ok(());
        }
        json.fragment(self.spellings.key(argument, text, self.tables)?);
        Ok(())
    }

    /// Writes the name of a field as a key, after a comma: no two fields of an object have one key.
    #[inline]
    fn field(
        &mut self,
        json: &mut Json<'_>,
        name: (u32, &str),
        position: u32,
        siblings: &mut Siblings<'_>,
    ) -> Result<()> {
        let Some(known) = self.spellings.keys.get(name.0 as usize).filter(|key| !key.is_empty()) else {
            return self.seldom_field(json, name, position, siblings);
        };
        json.fragment(known);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn seldom_field(
        &mut self,
        json: &mut Json<'_>,
        (argument, text): (u32, &str),
        position: u32,
        siblings: &mut Siblings<'_>,
    ) -> Result<()> {
        if is_key(text_of(self.tables, read::name_ref(argument, text))?) {
            return self.key(json, argument, text);
        }
        json.fragment(&spelled_key(siblings.key(position, self.tables, self.spellings.profile.getters)?));
        Ok(())
    }

    /// Writes the bracket and the type of a throwable.
    pub fn open(&mut self, json: &mut Json<'_>, class: NameRef<'_>) -> Result<()> {
        let (argument, text) = read::argument_of(class);
        json.fragment(&self.spellings.class_of(lay::EXCEPTION, argument, text, self.tables)?.open);
        Ok(())
    }

    /// Writes the next value of a record (2.1). `level` is that of its object in the event, `depth` its nesting.
    pub fn value(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        parent: Option<usize>,
        level: u32,
        depth: u32,
    ) -> Result<()> {
        let word = reader.head()?;
        let class @ (tag, _) = (lay::tag_of(word), lay::argument_of(word));
        let span = json.begin(SpanKind::Value, parent, level);
        match tag {
            lay::STR_UTF8 | lay::STR_LATIN1 => self.text(json, reader, class)?,
            lay::INT => {
                let begin = &self.spellings.class(class, reader, self.tables)?.scalar;
                let number = reader.int()?;
                json.fragment_and::<_, { WIDTH + json::DIGITS + 4 }>(begin, |behind: &mut [u8; json::DIGITS + 4]| {
                    let length = behind.first_chunk_mut().map_or(0, |place| json::digits(number, place));
                    if let Some(end) = behind.get_mut(length..length + 2) {
                        end.copy_from_slice(b"\"}");
                    }
                    length + 2
                });
            }
            lay::NULL => {
                json.fragment(&self.spellings.class(class, reader, self.tables)?.open);
                json.next(b",\"isNull\":true");
                json.put(b"}");
            }
            lay::FALSE | lay::TRUE => {
                json.fragment(&self.spellings.class(class, reader, self.tables)?.scalar);
                json.raw(self.spellings.profile.booleans[usize::from(tag == lay::TRUE)].as_bytes());
                json.put(b"\"}");
            }
            lay::FLOAT => {
                json.fragment(&self.spellings.class(class, reader, self.tables)?.scalar);
                let text = &mut self.spellings.scratch;
                text.clear();
                (self.spellings.profile.float)(reader.float()?, text);
                json.raw(text.as_bytes());
                json.put(b"\"}");
            }
            lay::LIST..=lay::OBJECT => {
                json.fragment(&self.spellings.class(class, reader, self.tables)?.open);
                self.container(json, reader, tag, Inside { span, level, depth: depth + 1 })?;
            }
            lay::WITHHELD => self.withheld(json, reader, class, span)?,
            lay::SEALED => self.sealed(json, reader, class)?,
            _ => self.rare(json, reader, class)?,
        }
        json.end(span);
        Ok(())
    }

    /// Writes the children of a container, and what is said of them.
    fn container(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, tag: u8, inside: Inside) -> Result<()> {
        let Inside { span, level, depth } = inside;
        let size = if tag == lay::OBJECT { None } else { Some(reader.size()?) };
        let children = reader.children()?;
        if children.count > 0 {
            reader.check_depth(depth)?;
        }
        if children.reason == lay::REASON_DEPTH {
            if children.count > 0 {
                return Err(Error::new(ErrorKind::BadRecord, "bad record: an unopened container has children"));
            }
        } else if tag == lay::OBJECT {
            json.next(b",\"fields\":");
            let start = json.len();
            let mut siblings = Siblings::new(reader.clone(), children.count);
            for position in 0..children.count {
                let argument = reader.name_argument()?;
                let text = reader.inline_of(argument)?;
                if !self.spellings.profile.getters && reader.next_tag()? == lay::COMPUTED {
                    reader.skip()?;
                    continue;
                }
                self.field(json, (argument, text), position, &mut siblings)?;
                // The object `fields` is a level of its own.
                self.value(json, reader, Some(span), level + 2, depth)?;
            }
            json.brace_from(start);
            json.put(b"}");
        } else if tag == lay::MAP {
            json.next(b",\"entries\":[");
            for index in 0..children.count {
                if index > 0 {
                    json.put(b",");
                }
                json.put(b"[");
                self.value(json, reader, Some(span), level + 1, depth)?;
                json.put(b",");
                self.value(json, reader, Some(span), level + 1, depth)?;
                json.put(b"]");
            }
            json.put(b"]");
        } else {
            json.next(b",\"elements\":[");
            for index in 0..children.count {
                if index > 0 {
                    json.put(b",");
                }
                self.value(json, reader, Some(span), level + 1, depth)?;
            }
            json.put(b"]");
        }
        if children.reason != lay::REASON_NONE {
            incomplete(json, span, children);
        }
        if let Some(size) = size {
            json.number(b",\"size\":", size);
        }
        json.put(b"}");
        Ok(())
    }

    /// A string. In almost every one nothing is escaped, in the language or in JSON.
    #[inline]
    fn text(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, class: Class) -> Result<()> {
        let (end, used) = self.spellings.end;
        let open = &self.spellings.class(class, reader, self.tables)?.text;
        let at = reader.at();
        let (bytes, ahead, size) = reader.cut_bytes_ahead()?;
        let length = bytes.len();
        if let Some(wide) = ahead.first_chunk::<WIDTH>()
            && length <= WIDTH
            && size == length as u64
            && begins_plain(wide, length)
        {
            json.fragment_and::<_, { WIDTH + WIDTH + 4 }>(open, |behind: &mut [u8; WIDTH + 4]| {
                if let Some(place) = behind.first_chunk_mut() {
                    *place = *wide;
                }
                if let Some(place) = behind.get_mut(length..).and_then(<[u8]>::first_chunk_mut) {
                    *place = end;
                }
                length + used
            });
            return Ok(());
        }
        json.fragment(open);
        if is_plain(bytes) {
            json.raw(bytes);
            json.raw(end.get(..used - 1).unwrap_or_default());
            cut(json, (size > length as u64).then_some(size));
        } else {
            self.escaped_text(json, read::stored(class.0, bytes, at)?, size);
        }
        json.put(b"}");
        Ok(())
    }

    #[cold]
    fn escaped_text(&self, json: &mut Json<'_>, text: Stored<'_>, size: u64) {
        let profile = self.spellings.profile;
        // The language chooses its quote by what the text holds.
        if profile.quote.is_some() {
            json.take_back();
        }
        json.inside(&text.with(|text| (profile.string)(text)));
        json.put(b"\"");
        cut(json, (size > text.units() as u64).then_some(size));
    }

    #[cold]
    fn withheld(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        (tag, argument): Class,
        span: usize,
    ) -> Result<()> {
        let class = reader.inline_of(argument)?;
        let Content::Withheld { reason, kind, text } = reader.content(tag)? else { return Ok(()) };
        json.fragment(&self.spellings.class_of(kind, argument, class, self.tables)?.open);
        json.incomplete(span, reason == lay::REASON_DEPTH);
        json.lacks |= lacks(reason);
        json.text(b",\"notCapturedReason\":", lay::reason_text(reason).unwrap_or(text));
        json.put(b"}");
        Ok(())
    }

    /// A value of which strict capture tells no more than this.
    #[cold]
    fn sealed(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, (tag, argument): Class) -> Result<()> {
        let class = reader.inline_of(argument)?;
        let Content::Sealed { kind, bits, hash, size } = reader.content(tag)? else { return Ok(()) };
        json.fragment(&self.spellings.class_of(kind, argument, class, self.tables)?.open);
        if bits & lay::SEALED_HASH != 0 {
            json.text(b",\"hash\":", &format!("{hash:016x}"));
        }
        if bits & lay::SEALED_CUT != 0 {
            cut(json, Some(size));
        } else if bits & lay::SEALED_SIZE != 0 {
            json.number(b",\"size\":", size);
        }
        json.put(b"}");
        Ok(())
    }

    #[cold]
    fn rare(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, class @ (tag, _): Class) -> Result<()> {
        let begin = self.spellings.class(class, reader, self.tables)?;
        if let lay::STR_UCS2 | lay::STR_UCS4 | lay::STR_UTF16 = tag {
            json.fragment(&begin.text);
            let at = reader.at();
            let (bytes, size) = reader.cut_bytes()?;
            self.escaped_text(json, read::stored(tag, bytes, at)?, size);
            json.put(b"}");
            return Ok(());
        }
        json.fragment(&begin.open);
        let profile = self.spellings.profile;
        let scalar = |json: &mut Json<'_>, text: &str| json.text(b",\"value\":", text);
        match reader.content(tag)? {
            Content::Complex(real, imaginary) => scalar(json, &number::python_complex(real, imaginary)),
            Content::Big { negative, width, bits, dropped, digits } => {
                let Digits { text, cut_from } = number::integer_text(negative, width, bits, dropped, digits);
                scalar(json, &text);
                cut(json, cut_from);
            }
            Content::Decimal { negative, exponent, dropped, words } => {
                let Digits { text, cut_from } = number::decimal_text(negative, exponent, dropped, words);
                let [before, after] = profile.decimal;
                scalar(json, &format!("{before}{text}{after}"));
                cut(json, cut_from);
            }
            Content::Bytes { bytes, size } => {
                scalar(json, &(profile.bytes)(bytes));
                cut(json, (size > bytes.len() as u64).then_some(size));
            }
            // Templates only; in a capture an exception is an object.
            Content::Exception => {
                reader.skip()?;
                json.next(b",\"fields\":{}");
            }
            Content::Iterator("") | Content::Opaque => json.next(b",\"fields\":{}"),
            Content::Enum(text) | Content::Function(text) | Content::Iterator(text) | Content::Scalar(text) => {
                scalar(json, text);
            }
            // Nothing to show, and the kinds that [`Values::value`] writes itself.
            _ => {}
        }
        json.put(b"}");
        Ok(())
    }
}

/// Marks a scalar as cut, with its true length.
#[inline]
fn cut(json: &mut Json<'_>, from: Option<u64>) {
    if let Some(size) = from {
        json.lacks |= LACKS_TEXT;
        json.number(b",\"truncated\":true,\"size\":", size);
    }
}

/// Says why a container has not more children.
#[inline]
fn incomplete(json: &mut Json<'_>, span: usize, children: Children) {
    if let Some(reason) = lay::reason_text(children.reason) {
        json.incomplete(span, children.reason == lay::REASON_DEPTH);
        json.lacks |= lacks(children.reason);
        json.text(b",\"notCapturedReason\":", reason);
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS_KEPT, Spellings, TYPES_KEPT};
    use crate::capture::redact::Redaction;
    use crate::emit::json::Json;
    use crate::emit::language::Profile;
    use crate::host::Language;
    use crate::record::layout as lay;
    use crate::record::names::Tables;
    use crate::text::Text;
    use std::sync::Arc;

    #[test]
    fn names_and_types_beyond_what_is_kept_are_spelled_as_well() {
        let tables = Tables::new(Arc::new(Redaction::default()));
        let mut spellings = Spellings::new(Profile::of(Language::Python));
        for n in 0..KEYS_KEPT + 100 {
            let name = format!("a{n}");
            tables.intern_name(Text::Utf8(&name)).unwrap();
            tables.intern_type(Text::Utf8(&name), Text::Utf8(&name), false);
        }
        for id in [0, 1, TYPES_KEPT - 1, TYPES_KEPT, KEYS_KEPT - 1, KEYS_KEPT, KEYS_KEPT + 99, 7] {
            let out = Json::text_of(|json| {
                json.fragment(spellings.key(id, "", &tables).unwrap());
                json.fragment(&spellings.class_of(lay::STR_UTF8, id, "", &tables).unwrap().scalar);
            });
            let wanted = format!(",\"a{id}\":{{\"type\":\"a{id}\",\"value\":\"");
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
        assert_eq!((spellings.keys.len(), spellings.types.len()), (KEYS_KEPT as usize, TYPES_KEPT as usize));
        assert!(spellings.key(KEYS_KEPT + 100, "", &tables).is_err());
    }
}
