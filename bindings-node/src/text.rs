//! Texts of modules on their way from the engine and back. A call that makes UTF-8 of a text goes through it letter by letter: most
//! texts are ASCII and are only copied, and of the others the stretches that are ASCII are many letters at a time. Before
//! [`crate::units`], after [`crate::modules`].

use napi::{Env, JsString, JsValue, Status, sys};

/// So many letters are looked at together.
const AT_ONCE: usize = 32;
/// Shorter texts are copied sooner than the engine notes whose they are.
const LONG: usize = 32 << 10;

/// A text of the engine's. `None`: it has half a pair of units in it, and is no text to us.
pub fn taken(env: Env, text: JsString<'_>) -> napi::Result<Option<String>> {
    let length = text.latin1_len()?;
    let bytes = bytes_of(env, &text, length)?;
    // Of one that is ASCII a letter takes one byte in any writing; of any other the lower halves of units may look so. To count bytes
    // takes the engine longer than to copy.
    if bytes.is_ascii() && text.utf8_len()? == length {
        return Ok(String::from_utf8(bytes).ok());
    }
    drop(bytes);
    let units = text.into_utf16()?;
    // It ends with a zero.
    Ok(units.as_slice().split_last().and_then(|(_, units)| of_units(units)))
}

/// The letters of a text of that length, a byte each.
fn bytes_of(env: Env, text: &JsString<'_>, length: usize) -> napi::Result<Vec<u8>> {
    // One more is for the zero at the end.
    let mut bytes = vec![0_u8; length + 1];
    let mut written = 0;
    // SAFETY: a handle is there only as long as the call that it is of, so both are of this one; the engine writes `bytes.len()` bytes at most, to
    // where that many are, and how many it was to where a `usize` is.
    let status = unsafe {
        let room = bytes.as_mut_ptr().cast();
        sys::napi_get_value_string_latin1(env.raw(), text.raw(), room, bytes.len(), &raw mut written)
    };
    if status != sys::Status::napi_ok {
        return Err(napi::Error::from_status(Status::from(status)));
    }
    bytes.truncate(written);
    Ok(bytes)
}

/// The same for the engine.
pub fn given(env: &Env, text: String) -> napi::Result<JsString<'_>> {
    if text.is_ascii() {
        return external::create(env, text.into_bytes(), LONG).unwrap_or_else(|bytes| env.create_string_latin1(bytes));
    }
    let units = units_of(&text);
    drop(text);
    // One that has no letter beyond takes half the room so.
    if units.iter().all(|unit| *unit <= 0xFF) {
        let bytes = units.into_iter().map(|unit| unit as u8).collect();
        return external::create(env, bytes, LONG).unwrap_or_else(|bytes| env.create_string_latin1(bytes));
    }
    external::create(env, units, LONG).unwrap_or_else(|units| env.create_string_utf16(units))
}

/// The text of a module of ours, for the engine, which keeps it. None of it lies among the engine's young objects: of those that live
/// on it copies each, twice, and so much makes it keep twice the room for them.
pub fn of_ours(env: &Env, text: String) -> napi::Result<JsString<'_>> {
    if text.is_ascii() {
        return external::create(env, text.into_bytes(), 0).unwrap_or_else(|bytes| env.create_string_latin1(bytes));
    }
    given(env, text)
}

/// Texts that the engine takes as they are, without a copy: of a long one it would put its own among the young objects, and go
/// through all of those to make room.
mod external {
    use napi::bindgen_prelude::FromNapiValue;
    use napi::{Env, JsString, sys};
    use std::ffi::{CStr, c_void};
    use std::ptr;
    use std::sync::OnceLock;

    type Free = unsafe extern "C" fn(sys::napi_env, *mut c_void, *mut c_void);
    /// What Node has for it, from 20.4 on.
    type Create<T> = unsafe extern "C" fn(
        sys::napi_env,
        *mut T,
        usize,
        Option<Free>,
        *mut c_void,
        *mut sys::napi_value,
        *mut bool,
    ) -> sys::napi_status;

    /// A unit of a text: a byte, or half a pair.
    pub(super) trait Unit: Sized + 'static {
        /// What makes a text of such units; nothing if this Node has none.
        fn create() -> Option<Create<Self>>;
    }

    impl Unit for u8 {
        fn create() -> Option<Create<u8>> {
            static FOUND: OnceLock<Option<usize>> = OnceLock::new();
            let found = (*FOUND.get_or_init(|| find(c"node_api_create_external_string_latin1")))?;
            // SAFETY: Node's function of this name has this signature; it stays where it is as long as the process runs.
            Some(unsafe { std::mem::transmute::<usize, Create<u8>>(found) })
        }
    }

    impl Unit for u16 {
        fn create() -> Option<Create<u16>> {
            static FOUND: OnceLock<Option<usize>> = OnceLock::new();
            let found = (*FOUND.get_or_init(|| find(c"node_api_create_external_string_utf16")))?;
            // SAFETY: Node's function of this name has this signature; it stays where it is as long as the process runs.
            Some(unsafe { std::mem::transmute::<usize, Create<u16>>(found) })
        }
    }

    /// The address of a function of Node's. An addon that named it would not be loaded where it is not there.
    fn find(name: &CStr) -> Option<usize> {
        // SAFETY: the name ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found as usize)
    }

    /// A text of these units, or the units if it is to be copied: there are fewer than `from`.
    pub(super) fn create<T: Unit>(
        env: &Env,
        mut units: Vec<T>,
        from: usize,
    ) -> Result<napi::Result<JsString<'_>>, Vec<T>> {
        let Some(create) = T::create().filter(|_| units.len() >= from) else { return Err(units) };
        units.shrink_to_fit();
        let (first, length) = (units.as_mut_ptr(), units.len());
        let owned = Box::into_raw(Box::new(units));
        let mut made = ptr::null_mut();
        let mut copied = false;
        // SAFETY: `first` leads to `length` units, which stay there until `free` is called with `owned`, once: by the engine when
        // nobody has the text any more, or at once if it has copied it. The others lead to where one value of their type is.
        let status =
            unsafe { create(env.raw(), first, length, Some(free::<T>), owned.cast(), &raw mut made, &raw mut copied) };
        if status != sys::Status::napi_ok {
            // SAFETY: the engine has not taken it, so nobody else frees it.
            return Err(unsafe { *Box::from_raw(owned) });
        }
        // SAFETY: the engine has just made it, in this environment.
        Ok(unsafe { JsString::from_napi_value(env.raw(), made) })
    }

    /// Called by the engine when it has no use for a text any more.
    unsafe extern "C" fn free<T>(_: sys::napi_env, _: *mut c_void, owned: *mut c_void) {
        // SAFETY: it is what `create` has made of a box of this type, and the engine calls this once.
        drop(unsafe { Box::from_raw(owned.cast::<Vec<T>>()) });
    }
}

/// The length of a text in the engine's units.
pub fn width(text: &str) -> u32 {
    // A unit for each letter, and another one for those of four bytes: this is seen in bytes, many at a time.
    text.bytes().map(|byte| u32::from((byte as i8) >= -0x40) + u32::from(byte >= 0xF0)).sum()
}

fn of_units(units: &[u16]) -> Option<String> {
    let mut text = String::with_capacity(units.len() + units.len() / 8);
    let mut rest = units;
    while let Some((block, after)) = rest.split_first_chunk::<AT_ONCE>() {
        if block.iter().all(|unit| *unit < 0x80) {
            text.push_str(std::str::from_utf8(&block.map(|unit| unit as u8)).ok()?);
            rest = after;
            continue;
        }
        // Not between the halves of a pair.
        let ends_with_half = (0xD800..0xDC00).contains(&block[AT_ONCE - 1]);
        let (block, after) = rest.split_at(if ends_with_half { AT_ONCE - 1 } else { AT_ONCE });
        put(&mut text, block)?;
        rest = after;
    }
    put(&mut text, rest)?;
    Some(text)
}

fn put(text: &mut String, units: &[u16]) -> Option<()> {
    for letter in char::decode_utf16(units.iter().copied()) {
        text.push(letter.ok()?);
    }
    Some(())
}

fn units_of(text: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(block) = rest.as_bytes().first_chunk::<AT_ONCE>() {
        if block.is_ascii() {
            units.extend(block.map(u16::from));
            rest = &rest[AT_ONCE..];
            continue;
        }
        let end = (0..=AT_ONCE).rev().find(|&at| rest.is_char_boundary(at)).unwrap_or(AT_ONCE);
        units.extend(rest[..end].encode_utf16());
        rest = &rest[end..];
    }
    units.extend(rest.encode_utf16());
    units
}

#[cfg(test)]
mod tests {
    use super::{AT_ONCE, of_units, units_of, width};

    /// Letters of one to four bytes, at each place of a block and around its ends.
    #[test]
    fn letters_of_all_sizes_come_back_wherever_they_stand() {
        for letter in ["a", "ö", "€", "😀", "\u{2028}", "\0"] {
            for at in 0..3 * AT_ONCE {
                for twice in [false, true] {
                    let text =
                        format!("{}{letter}{}{}", "x".repeat(at), if twice { letter } else { "" }, "y".repeat(AT_ONCE));
                    let units: Vec<u16> = text.encode_utf16().collect();
                    assert_eq!(units_of(&text), units, "{letter} at {at}");
                    assert_eq!(of_units(&units).as_deref(), Some(text.as_str()), "{letter} at {at}");
                    assert_eq!(width(&text) as usize, units.len());
                }
            }
        }
        assert_eq!(of_units(&[]).as_deref(), Some(""));
    }

    #[test]
    fn half_a_pair_is_no_text() {
        for half in [0xD800, 0xDC00, 0xDBFF, 0xDFFF] {
            for at in 0..2 * AT_ONCE {
                let mut units = vec![u16::from(b'x'); 2 * AT_ONCE];
                units[at] = half;
                assert_eq!(of_units(&units), None, "{half:x} at {at}");
            }
        }
        assert_eq!(of_units(&[0xDC00, 0xD800]), None);
    }
}
