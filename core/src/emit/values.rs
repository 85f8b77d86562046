//! Captured values as JSON (*Signals and upload* 2.1 to 2.7), straight from the record's bytes. It stands on the walk of a
//! hit, on the worker: [`crate::record::read`] before, [`super::render`] around it. It costs a few nanoseconds a value,
//! so names and types are spelled once a session and the common kinds of values are read without a detour.

use super::event::SpanKind;
use super::json::{Json, is_plain};
use super::language::Profile;
use super::message::unknown;
use super::number::{self, Digits};
use crate::error::{Error, ErrorKind, Result};
use crate::record::layout as lay;
use crate::record::names::{MAX_ENTRIES, Tables};
use crate::record::read::{self, Children, Content, NameRef, Reader};

/// What stands in JSON for the names and types of a session's tables, by number; empty: not spelled yet.
pub struct Spellings {
    profile: &'static Profile,
    /// `,"name":`
    keys: Vec<Box<[u8]>>,
    /// `{"type":"Name"`, or `{` where the type has no name.
    types: Vec<Box<[u8]>>,
    /// The same for the language's own types, by tag.
    kinds: Vec<Box<[u8]>>,
    /// A number's text.
    scratch: String,
}

impl Spellings {
    /// Those of a language, nothing spelled.
    pub fn new(profile: &'static Profile) -> Self {
        let kinds = profile.type_names.iter().map(|name| spelled_type(name)).collect();
        Spellings { profile, keys: Vec::new(), types: Vec::new(), kinds, scratch: String::new() }
    }

    /// The language.
    pub fn profile(&self) -> &'static Profile {
        self.profile
    }

    #[inline]
    fn key(&mut self, id: u32, tables: &Tables) -> Result<&[u8]> {
        spelling(&mut self.keys, id, || Ok(spelled_key(tables.name(id).ok_or_else(|| unknown("name", id))?)))
    }

    #[inline]
    fn type_of(&mut self, id: u32, tables: &Tables) -> Result<&[u8]> {
        spelling(&mut self.types, id, || Ok(spelled_type(tables.type_name(id).ok_or_else(|| unknown("type", id))?)))
    }
}

#[inline]
fn spelling(known: &mut Vec<Box<[u8]>>, id: u32, spell: impl FnOnce() -> Result<Box<[u8]>>) -> Result<&[u8]> {
    let index = id as usize;
    if known.get(index).is_none_or(|text| text.is_empty()) {
        add_spelling(known, index, spell()?);
    }
    Ok(known.get(index).map_or(&[], |text| text))
}

#[cold]
fn add_spelling(known: &mut Vec<Box<[u8]>>, index: usize, text: Box<[u8]>) {
    // Whoever spells has found the number in a table, so it is below the table's length.
    debug_assert!(index < MAX_ENTRIES as usize);
    if known.len() <= index {
        known.resize_with(index + 1, Box::default);
    }
    if let Some(place) = known.get_mut(index) {
        *place = text;
    }
}

fn spelled(write: impl FnOnce(&mut Json<'_>)) -> Box<[u8]> {
    let mut out = Vec::new();
    write(&mut Json::new(&mut out));
    out.into()
}

/// A name as a key: a dot would be taken for nesting.
fn spelled_key(name: &str) -> Box<[u8]> {
    spelled(|json| {
        json.raw(b",");
        if name.contains('.') {
            json.string(&name.replace('.', "_"))
        } else {
            json.string(name)
        }
        json.raw(b":");
    })
}

fn spelled_type(name: &str) -> Box<[u8]> {
    spelled(|json| {
        json.raw(b"{");
        if !name.is_empty() {
            json.text(",\"type\":", name);
        }
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
    let mut out = Vec::new();
    let mut spellings = Spellings::new(profile);
    Values { tables, spellings: &mut spellings }.value(&mut Json::new(&mut out), reader, None, 0, 0)?;
    Ok(out)
}

/// Writes values as JSON.
pub(super) struct Values<'a> {
    /// The session's names and types.
    pub tables: &'a Tables,
    /// What was spelled so far.
    pub spellings: &'a mut Spellings,
}

impl Values<'_> {
    /// Writes a name as a key, after a comma unless it is the `first`.
    #[inline]
    pub fn key(&mut self, json: &mut Json<'_>, name: NameRef<'_>, first: bool) -> Result<()> {
        let skip = usize::from(first);
        if let NameRef::Id(id) = name {
            json.raw(self.spellings.key(id, self.tables)?.get(skip..).unwrap_or_default());
            return Ok(());
        }
        json.raw(spelled_key(text_of(self.tables, name)?).get(skip..).unwrap_or_default());
        Ok(())
    }

    /// Writes the bracket and the type of a value or a throwable.
    #[inline]
    pub fn open(&mut self, json: &mut Json<'_>, class: NameRef<'_>, tag: u8) -> Result<()> {
        match class {
            NameRef::Implied => json.raw(self.spellings.kinds.get(usize::from(tag)).map_or(b"{", |text| text)),
            NameRef::Id(id) => json.raw(self.spellings.type_of(id, self.tables)?),
            NameRef::Text(text) => json.raw(&spelled_type(text)),
        }
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
        reader.check_depth(depth)?;
        let (tag, class) = reader.head()?;
        let span = json.begin(SpanKind::Value, parent, level);
        if tag != lay::WITHHELD {
            self.open(json, class, tag)?;
        }
        match tag {
            lay::INT => {
                json.next(",\"value\":\"");
                json.integer(reader.int()?);
                json.raw(b"\"");
            }
            lay::STR_UTF8..=lay::STR_UTF16 => self.text(json, reader, tag)?,
            lay::FLOAT => {
                let text = &mut self.spellings.scratch;
                text.clear();
                (self.spellings.profile.float)(reader.float()?, text);
                json.next(",\"value\":\"");
                json.raw(text.as_bytes());
                json.raw(b"\"");
            }
            lay::NULL => json.next(",\"isNull\":true"),
            lay::FALSE | lay::TRUE => {
                json.text(",\"value\":", self.spellings.profile.booleans[usize::from(tag == lay::TRUE)]);
            }
            lay::LIST | lay::SET => {
                let (size, children) = (reader.size()?, reader.children()?);
                if opened(json, children, ",\"elements\":[")? {
                    for index in 0..children.count {
                        if index > 0 {
                            json.raw(b",");
                        }
                        self.value(json, reader, Some(span), level + 1, depth + 1)?;
                    }
                    json.raw(b"]");
                }
                incomplete(json, span, children);
                json.number(",\"size\":", size);
            }
            lay::MAP => {
                let (size, children) = (reader.size()?, reader.children()?);
                if opened(json, children, ",\"entries\":[")? {
                    for index in 0..children.count {
                        json.raw(if index > 0 { b",[" } else { b"[" });
                        self.value(json, reader, Some(span), level + 1, depth + 1)?;
                        json.raw(b",");
                        self.value(json, reader, Some(span), level + 1, depth + 1)?;
                        json.raw(b"]");
                    }
                    json.raw(b"]");
                }
                incomplete(json, span, children);
                json.number(",\"size\":", size);
            }
            lay::OBJECT => {
                let children = reader.children()?;
                if opened(json, children, ",\"fields\":{")? {
                    let mut first = true;
                    for _ in 0..children.count {
                        let name = reader.name()?;
                        if !self.spellings.profile.getters && reader.next_tag()? == lay::COMPUTED {
                            reader.skip()?;
                            continue;
                        }
                        self.key(json, name, first)?;
                        first = false;
                        // The object `fields` is a level of its own.
                        self.value(json, reader, Some(span), level + 2, depth + 1)?;
                    }
                    json.raw(b"}");
                }
                incomplete(json, span, children);
            }
            lay::WITHHELD => self.withheld(json, reader, class, span)?,
            _ => self.rare(json, reader, tag)?,
        }
        json.raw(b"}");
        json.end(span);
        Ok(())
    }

    /// A string. In almost every one nothing is escaped, in the language or in JSON.
    #[inline]
    fn text(&self, json: &mut Json<'_>, reader: &mut Reader<'_>, tag: u8) -> Result<()> {
        let at = reader.at();
        let (bytes, size) = reader.cut_bytes()?;
        let profile = self.spellings.profile;
        json.next(",\"value\":\"");
        if tag <= lay::STR_LATIN1 && is_plain(bytes) {
            json.out.extend(profile.quote);
            json.raw(bytes);
            json.out.extend(profile.quote);
            json.raw(b"\"");
            cut(json, (size > bytes.len() as u64).then_some(size));
            return Ok(());
        }
        let text = read::stored(tag, bytes, at)?;
        super::json::escape(&text.with(|text| (profile.string)(text)), json.out);
        json.raw(b"\"");
        cut(json, (size > text.units() as u64).then_some(size));
        Ok(())
    }

    #[cold]
    fn withheld(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        class: NameRef<'_>,
        span: usize,
    ) -> Result<()> {
        let Content::Withheld { reason, kind, text } = reader.content(lay::WITHHELD)? else { return Ok(()) };
        self.open(json, class, kind)?;
        json.incomplete(span, reason == lay::REASON_DEPTH);
        json.text(",\"notCapturedReason\":", lay::reason_text(reason).unwrap_or(text));
        Ok(())
    }

    #[cold]
    fn rare(&self, json: &mut Json<'_>, reader: &mut Reader<'_>, tag: u8) -> Result<()> {
        let profile = self.spellings.profile;
        let scalar = |json: &mut Json<'_>, text: &str| json.text(",\"value\":", text);
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
                json.next(",\"fields\":{}");
            }
            Content::Iterator("") | Content::Opaque => json.next(",\"fields\":{}"),
            Content::Enum(text) | Content::Function(text) | Content::Iterator(text) | Content::Scalar(text) => {
                scalar(json, text);
            }
            // Nothing to show, and the kinds that [`Values::value`] writes itself.
            _ => {}
        }
        Ok(())
    }
}

/// Marks a scalar as cut, with its true length.
#[inline]
fn cut(json: &mut Json<'_>, from: Option<u64>) {
    if let Some(size) = from {
        json.number(",\"truncated\":true,\"size\":", size);
    }
}

/// Opens a container's children, unless it was too deep to be opened.
#[inline]
fn opened(json: &mut Json<'_>, children: Children, key: &'static str) -> Result<bool> {
    if children.reason != lay::REASON_DEPTH {
        json.next(key);
        return Ok(true);
    }
    if children.count > 0 {
        return Err(Error::new(ErrorKind::BadRecord, "bad record: an unopened container has children"));
    }
    Ok(false)
}

/// Says why a container has not more children.
#[inline]
fn incomplete(json: &mut Json<'_>, span: usize, children: Children) {
    if let Some(reason) = lay::reason_text(children.reason) {
        json.incomplete(span, children.reason == lay::REASON_DEPTH);
        json.text(",\"notCapturedReason\":", reason);
    }
}
