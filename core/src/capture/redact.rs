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

/// Code points of the longest private name of Python that is looked at without its class.
const PRIVATE: usize = 256;
/// How many `__` in it are taken for the end of the class's name.
const PRIVATE_PARTS: usize = 8;

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
    /// Normalised names that are never withheld.
    excluded: Vec<String>,
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
        Redaction { by_length, long, excluded, types }
    }

    /// True if a value of this name is withheld.
    #[inline]
    pub fn name(&self, name: &str) -> bool {
        self.name_text(Text::Utf8(name))
    }

    /// True if a value of this name is withheld.
    pub fn name_text(&self, name: Text<'_>) -> bool {
        let ascii = match name {
            Text::Utf8(text) if text.is_ascii() => text.as_bytes(),
            Text::Latin1(units) if units.is_ascii() => units,
            _ => return self.points(&Normal::new(name.code_points())) || self.private(&name.code_points()),
        };
        self.ascii(ascii) || (ascii.first() == Some(&b'_') && self.private(&CodePoints::Latin1(ascii.iter())))
    }

    /// True if a value under this key of bytes is withheld.
    pub fn name_bytes(&self, key: &[u8]) -> bool {
        self.name_text(key_text(key))
    }

    /// True if this is a private name of Python, `_Class__name`, and what the program's author wrote is withheld. A class
    /// may have `__` in its name too, so that what comes after any of them is tried, within what names of programs are.
    #[cold]
    fn private(&self, name: &CodePoints<'_>) -> bool {
        let underscore = Some(u32::from(b'_'));
        let mut rest = name.clone();
        if rest.next() != underscore || rest.clone().next() == underscore || rest.clone().nth(PRIVATE).is_some() {
            return false;
        }
        let mut run = 0;
        let mut tries = 0;
        let mut found = false;
        while let Some(point) = rest.next() {
            run = if Some(point) == underscore { run + 1 } else { 0 };
            if run == 2 && tries < PRIVATE_PARTS {
                found = found || self.points(&Normal::new(rest.clone()));
                tries += 1;
            }
        }
        found
            && (self.excluded.is_empty()
                || !self.excluded.iter().any(|known| Normal::new(name.clone()).eq(known.chars())))
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

/// The text that a key of bytes is compared as: UTF-8, or Latin-1 where it is none.
pub fn key_text(key: &[u8]) -> Text<'_> {
    std::str::from_utf8(key).map_or(Text::Latin1(key), Text::Utf8)
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

#[cfg(test)]
mod tests {
    use super::Redaction;
    use crate::text::Text;

    #[test]
    fn a_private_name_is_judged_without_its_class() {
        let redaction = Redaction::new(&["größe".into()], &[], &[]);
        for name in
            ["_Account__password", "_A__x_api_key", "_My__Class__pin", "_A__b__token_", "_Größe__pwd", "_A__Größe"]
        {
            assert!(redaction.name(name), "{name}");
            let wide: Vec<u32> = name.chars().map(u32::from).collect();
            assert!(redaction.name_text(Text::Ucs4(&wide)), "{name}");
        }
        for name in
            ["_Account__user", "_password_user", "__Account__user", "x_Account__password", "_A_password", "_", "__"]
        {
            assert!(!redaction.name(name), "{name}");
        }
    }

    #[test]
    fn a_private_name_is_looked_at_within_bounds() {
        let redaction = Redaction::default();
        assert!(redaction.name(&format!("_A{}__password", "b".repeat(200))));
        assert!(!redaction.name(&format!("_A{}__password", "__b".repeat(300))));
        assert!(!redaction.name(&format!("_a{}", "_".repeat(1 << 20))));
    }

    #[test]
    fn a_private_name_is_excluded_by_either_of_its_names() {
        for excluded in ["password", "__password", "_Account__password"] {
            let redaction = Redaction::new(&[], &[excluded.into()], &[]);
            assert!(!redaction.name("_Account__password"), "{excluded}");
            assert_eq!(redaction.name("_Other__password"), excluded == "_Account__password", "{excluded}");
        }
    }

    #[test]
    fn keys_of_bytes_are_text() {
        let redaction = Redaction::new(&["größe".into()], &[], &[]);
        for key in ["größe".as_bytes(), &b"Gr\xF6\xDFe"[..], b"password"] {
            assert!(redaction.name_bytes(key), "{key:?}");
        }
        assert!(!redaction.name_bytes(b"gr\xC3\xB6\xDFe") && !redaction.name_bytes(b"\xFF"));
    }
}
