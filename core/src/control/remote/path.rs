//! The name of a file of remote configuration: whose it is, for which product, and which id. On the walk of a configuration
//! going in; `answer.rs` asks.

/// The longest path.
pub const MAX_PATH: usize = 512;

/// A path, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `LIVE_DEBUGGING` and the like.
    pub product: &'a str,
    /// The id of the configuration.
    pub id: &'a str,
}

/// Reads `datadog/<org>/<PRODUCT>/<id>/<name>` or `employee/<PRODUCT>/<id>/<name>`; `None` for anything else. No path leads
/// anywhere in a file system, and none could.
pub fn read(path: &str) -> Option<Parts<'_>> {
    if path.len() > MAX_PATH || path.chars().any(char::is_control) {
        return None;
    }
    let rest = match path.split_once('/')? {
        ("employee", rest) => rest,
        ("datadog", rest) => {
            let (org, rest) = rest.split_once('/')?;
            let is_number = !org.is_empty() && org.bytes().all(|byte| byte.is_ascii_digit());
            (is_number && org.parse::<i64>().is_ok()).then_some(rest)?
        }
        _ => return None,
    };
    let mut segments = rest.split('/');
    let (product, id, name) = (segments.next()?, segments.next()?, segments.next()?);
    let is_name = |text: &str| !text.is_empty() && text != "." && text != "..";
    let is_product = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = segments.next().is_none()
        && !product.is_empty()
        && product.bytes().all(is_product)
        && is_name(id)
        && is_name(name);
    fits.then_some(Parts { product, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        for (path, product, id) in [
            ("datadog/2/LIVE_DEBUGGING/logProbe_a-b/config", "LIVE_DEBUGGING", "logProbe_a-b"),
            ("datadog/0/APM_TRACING/x/y", "APM_TRACING", "x"),
            ("datadog/9223372036854775807/ASM_DD/ü .. /n", "ASM_DD", "ü .. "),
            ("employee/APM_TRACING/x/config", "APM_TRACING", "x"),
        ] {
            assert_eq!(read(path), Some(Parts { product, id }), "{path}");
        }
    }

    #[test]
    fn anything_else_is_no_path() {
        for path in [
            "",
            "datadog",
            "/datadog/2/A/b/c",
            "datadog/2/A/b",
            "datadog/2/A/b/c/d",
            "datadog/2/A//c",
            "datadog/2/A/b/",
            "datadog//A/b/c",
            "datadog/-1/A/b/c",
            "datadog/+1/A/b/c",
            "datadog/x/A/b/c",
            "datadog/9223372036854775808/A/b/c",
            "datadog/2/a/b/c",
            "datadog/2/A-B/b/c",
            "datadog/2/A/../c",
            "datadog/2/A/b/..",
            "datadog/2/A/./c",
            "datadog/2/A/b\0/c",
            "datadog/2/A/b\n/c",
            "../../etc/passwd/x",
            "employee/2/A/b/c",
            "employee/A/b",
            "other/A/b/c",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        let long = |length: usize| format!("employee/A/{}/c", "x".repeat(length - 13));
        assert_eq!(long(MAX_PATH).len(), MAX_PATH);
        assert!(read(&long(MAX_PATH)).is_some());
        assert_eq!(read(&long(MAX_PATH + 1)), None);
    }
}
