//! Remote configuration: probes that an Agent hands out while the program runs, and takes back. On the walk of a configuration
//! going in it stands beside `control/file.rs`; `probe/wire.rs` comes next. Nothing in this folder does I/O or reads a clock:
//! `sender.rs` polls, and hands each answer in.
//!
//! `canonical.rs` what is signed · `trust.rs` by whom · `path.rs` names of files · `answer.rs` an answer, with its limits ·
//! `held.rs` what is held, and the request that says so · `switch.rs` the product on and off · `client.rs` all of it together ·
//! `pace.rs` when to ask · `sources.rs` whose a probe is.

pub mod answer;
pub mod canonical;
pub mod client;
pub mod held;
pub mod pace;
pub mod path;
pub(crate) mod sources;
pub mod switch;
pub mod trust;

/// The path that is polled.
pub const PATH: &str = "/v0.7/config";
/// The content type of a request.
pub const CONTENT_TYPE: &str = "application/json";

/// Why an update is not taken as a whole. Nothing of it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A root of trust is missing between two others.
    RootGap,
    /// A root of trust is not signed by enough keys of the one before it, or of its own.
    RootSignature,
    /// The last root of trust is too old.
    RootExpired,
    /// The index of files is not signed by enough keys.
    TargetsSignature,
    /// It is too old.
    TargetsExpired,
    /// It is older than the last one, or another one of its version.
    TargetsRollback,
    /// A file is not in the index, or neither held nor sent.
    FileMissing,
    /// A file is not as long as the index says.
    FileLength,
    /// A file has another hash than the index says, or the index says none.
    FileHash,
    /// A path that is not one.
    Path,
    /// More than is accepted.
    TooLarge,
    /// Not the JSON expected.
    Json,
}

impl Code {
    /// The code as the server is told.
    pub fn name(self) -> &'static str {
        match self {
            Code::RootGap => "root_gap",
            Code::RootSignature => "root_signature",
            Code::RootExpired => "root_expired",
            Code::TargetsSignature => "targets_signature",
            Code::TargetsExpired => "targets_expired",
            Code::TargetsRollback => "targets_rollback",
            Code::FileMissing => "file_missing",
            Code::FileLength => "file_length",
            Code::FileHash => "file_hash",
            Code::Path => "path",
            Code::TooLarge => "too_large",
            Code::Json => "json",
        }
    }
}

/// An update that is refused: the code for the server, and for people what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub code: Code,
    /// A few words.
    pub what: String,
}

impl Refused {
    pub(crate) fn new(code: Code, what: impl Into<String>) -> Self {
        Refused { code, what: what.into() }
    }
}

/// The outcome of reading a part of an update.
pub type Result<T> = std::result::Result<T, Refused>;

/// A text of somebody else's, short and on one line.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 100;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of so many hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes_and_back() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(unhex::<3>("00aBff"), Some([0, 0xab, 0xff]));
        for wrong in ["", "00abf", "00abff0", "00abfg", "+0abff", "ä0abf"] {
            assert_eq!(unhex::<3>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_others_wrote_stays_on_one_line() {
        assert_eq!(short("a\nb\0"), "a b ");
        assert_eq!(short(&"x".repeat(1000)).chars().count(), 101);
    }
}
