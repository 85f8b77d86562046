//! What must not leave the process: names and types (*Signals and upload* 3). It stands on the walk of a hit, asked by
//! [`super::walk`] and by the evaluator, and on the walk of a configuration, asked when an expression is compiled.

use crate::text::{CodePoints, Text};

/// The built-in names, normalised and in order.
pub const BUILT_IN: [&str; 85] = [
    "2fa",
    "accesstoken",
    "aiohttpsession",
    "apikey",
    "apisecret",
    "apisignature",
    "appkey",
    "applicationkey",
    "auth",
    "authorization",
    "authtoken",
    "ccnumber",
    "certificatepin",
    "cipher",
    "clientid",
    "clientsecret",
    "connectionstring",
    "connectsid",
    "cookie",
    "credentials",
    "creditcard",
    "csrf",
    "csrftoken",
    "cvv",
    "databaseurl",
    "dburl",
    "encryptionkey",
    "encryptionkeyid",
    "geolocation",
    "gpgkey",
    "ipaddress",
    "jti",
    "jwt",
    "licensekey",
    "masterkey",
    "mysqlpwd",
    "nonce",
    "oauth",
    "oauthtoken",
    "otp",
    "passhash",
    "passwd",
    "password",
    "passwordb",
    "pemfile",
    "pgpkey",
    "phpsessid",
    "pin",
    "pincode",
    "pkcs8",
    "privatekey",
    "publickey",
    "pwd",
    "recaptchakey",
    "refreshtoken",
    "routingnumber",
    "salt",
    "secret",
    "secretkey",
    "secrettoken",
    "securityanswer",
    "securitycode",
    "securityquestion",
    "serviceaccountcredentials",
    "session",
    "sessionid",
    "sessionkey",
    "setcookie",
    "signature",
    "signaturekey",
    "sshkey",
    "ssn",
    "symfony",
    "token",
    "transactionid",
    "twiliotoken",
    "usersession",
    "voterid",
    "xapikey",
    "xauthtoken",
    "xcsrftoken",
    "xforwardedfor",
    "xrealip",
    "xsrf",
    "xsrftoken",
];

/// Bytes of the longest normalised name that is looked up in the lists by length.
const LONGEST: usize = 64;

/// Each ASCII character in lower case; 0: it is left out.
const FOLDED: [u8; 128] = {
    let mut folded = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        let letter = byte as u8;
        if !matches!(letter, b'_' | b'-' | b'$' | b'@' | b'.' | b' ' | 9..=13) {
            folded[byte] = letter.to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
};

/// The rules of a session.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Normalised names, by length.
    by_length: Vec<Vec<Box<[u8]>>>,
    /// Normalised names longer than [`LONGEST`].
    long: Vec<String>,
    /// Type patterns.
    types: Vec<String>,
}

impl Default for Redaction {
    fn default() -> Self {
        Redaction::new(&[], &[], &[])
    }
}

impl Redaction {
    /// The built-in names with `added` and without `excluded` ones (exclusion always wins), and patterns of types with
    /// `*` as wildcard.
    pub fn new(added: &[String], excluded: &[String], types: &[String]) -> Self {
        let excluded: Vec<String> = excluded.iter().map(|name| normalised(name)).collect();
        let mut by_length = vec![Vec::new(); LONGEST + 1];
        let mut long = Vec::new();
        for name in BUILT_IN.iter().map(|name| (*name).to_owned()).chain(added.iter().map(|name| normalised(name))) {
            if name.is_empty() || excluded.contains(&name) {
                continue;
            }
            match by_length.get_mut(name.len()) {
                Some(names) => names.push(name.into_bytes().into_boxed_slice()),
                None => long.push(name),
            }
        }
        let types = types.iter().map(|pattern| pattern.trim().trim_start_matches("::").to_owned());
        let types = types.filter(|pattern| !pattern.is_empty()).collect();
        Redaction { by_length, long, types }
    }

    /// True if a value of this name is withheld.
    #[inline]
    pub fn name(&self, name: &str) -> bool {
        self.name_text(Text::Utf8(name))
    }

    /// True if a value of this name is withheld.
    pub fn name_text(&self, name: Text<'_>) -> bool {
        match name {
            Text::Utf8(text) if text.is_ascii() => self.ascii(text.as_bytes()),
            Text::Latin1(units) if units.is_ascii() => self.ascii(units),
            _ => self.points(&Normal::new(name.code_points())),
        }
    }

    /// The usual case, without decoding.
    fn ascii(&self, name: &[u8]) -> bool {
        let mut buffer = [0; LONGEST];
        let mut length = 0;
        for &byte in unwrapped(name) {
            let letter = FOLDED.get(usize::from(byte)).copied().unwrap_or(byte);
            if letter == 0 {
                continue;
            }
            let Some(slot) = buffer.get_mut(length) else {
                // Longer than any built-in name; only an added one could match.
                return !self.long.is_empty() && self.points(&Normal::new(CodePoints::Latin1(name.iter())));
            };
            *slot = letter;
            length += 1;
        }
        self.listed(buffer.get(..length).unwrap_or_default())
    }

    fn listed(&self, name: &[u8]) -> bool {
        self.by_length.get(name.len()).is_some_and(|names| names.iter().any(|known| **known == *name))
    }

    fn points(&self, name: &Normal<'_>) -> bool {
        let mut buffer = [0; LONGEST];
        let mut length = 0;
        for letter in name.clone() {
            let Some(place) = buffer.get_mut(length..length + letter.len_utf8()) else {
                return self.long.iter().any(|known| known.chars().eq(name.clone()));
            };
            letter.encode_utf8(place);
            length += letter.len_utf8();
        }
        self.listed(buffer.get(..length).unwrap_or_default())
    }

    /// True if there are type patterns at all.
    #[inline]
    pub fn has_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// True if a value of this type is withheld. Both names are tried.
    pub fn type_names(&self, qualified: Text<'_>, bare: Text<'_>) -> bool {
        self.types.iter().any(|pattern| matches(pattern, qualified) || matches(pattern, bare))
    }
}

/// A name as it is compared (3.1), as text: for settings, not for hits.
pub fn normalised(name: &str) -> String {
    Normal::new(Text::Utf8(name).code_points()).collect()
}

fn is_separator(point: u32) -> bool {
    const SEPARATORS: [u32; 5] = ['_' as u32, '-' as u32, '$' as u32, '@' as u32, '.' as u32];
    SEPARATORS.contains(&point) || char::from_u32(point).is_some_and(char::is_whitespace)
}

/// The name without white space around it, without `Symbol(…)` and the `#` of a private field.
fn unwrapped(name: &[u8]) -> &[u8] {
    let name = name.trim_ascii();
    let name = name.strip_prefix(b"Symbol(").and_then(|inner| inner.strip_suffix(b")")).unwrap_or(name).trim_ascii();
    name.strip_prefix(b"#").unwrap_or(name)
}

/// The code points of a name, normalised on the way. The slow way, for names that are not ASCII.
#[derive(Clone)]
struct Normal<'f> {
    points: CodePoints<'f>,
    /// The rest of a letter that is several in lower case.
    lower: Option<std::char::ToLowercase>,
    /// Code points still to come, counted so that the `)` of a symbol can be told from one in a name.
    left: usize,
    symbol: bool,
}

impl<'f> Normal<'f> {
    fn new(points: CodePoints<'f>) -> Self {
        let space = |point: &u32| char::from_u32(*point).is_some_and(char::is_whitespace);
        let mut inner = points;
        let mut last = 0;
        let mut total = 0;
        let mut used = 0;
        for point in inner.clone() {
            total += 1;
            if !space(&point) {
                (last, used) = (point, total);
            }
        }
        if used == 0 {
            return Normal { points: inner, lower: None, left: 0, symbol: false };
        }
        let mut start = inner.clone();
        while let Some(point) = start.next() {
            if !space(&point) {
                break;
            }
            inner = start.clone();
            used -= 1;
        }
        let mut symbol = false;
        let mut ahead = inner.clone();
        if last == u32::from(b')') && "Symbol(".chars().all(|letter| ahead.next() == Some(u32::from(letter))) {
            symbol = true;
            used -= "Symbol(".len();
            inner = ahead;
        }
        // The `#` of a private field; separators before it do not occur.
        let mut ahead = inner.clone();
        if ahead.next() == Some(u32::from(b'#')) {
            used -= 1;
            inner = ahead;
        }
        Normal { points: inner, lower: None, left: used, symbol }
    }
}

impl Iterator for Normal<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            if let Some(letter) = self.lower.as_mut().and_then(Iterator::next) {
                return Some(letter);
            }
            if self.left == usize::from(self.symbol) {
                return None;
            }
            let point = self.points.next()?;
            self.left -= 1;
            if is_separator(point) {
                continue;
            }
            let letter = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
            self.lower = Some(letter.to_lowercase());
        }
    }
}

/// True if the whole text matches a pattern in which `*` stands for any run of letters and all else for itself.
fn matches(pattern: &str, text: Text<'_>) -> bool {
    let mut pattern = pattern.chars();
    let mut text = text.code_points();
    // Where to go on when the part after the last `*` does not fit here.
    let mut retry = None;
    loop {
        let mut rest = pattern.clone();
        let wanted = rest.next();
        if wanted == Some('*') {
            pattern = rest;
            retry = Some((pattern.clone(), text.clone()));
            continue;
        }
        let mut ahead = text.clone();
        match (wanted, ahead.next()) {
            (None, None) => return true,
            (Some(letter), Some(point)) if u32::from(letter) == point => (pattern, text) = (rest, ahead),
            _ => {
                let Some((from, mut place)) = retry.take() else { return false };
                if place.next().is_none() {
                    return false;
                }
                (pattern, text) = (from.clone(), place.clone());
                retry = Some((from, place));
            }
        }
    }
}
