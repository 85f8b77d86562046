//! The tags that say which program an event comes from. Made once, before both walks; each event of the walk of a hit
//! going out carries them.

use std::path::Path;

use crate::config::Settings;

/// The most characters of a value.
const MAX_VALUE: usize = 100;

/// Those of a process: what was started in it, as the binding knows it, and who has named the service. `inferred` is its name
/// where the user gives it none. Empty if no tags are wanted.
pub fn of<'a>(settings: &Settings, inferred: &'a str, entry: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    if !settings.propagate_process_tags {
        return String::new();
    }
    let by_whom = if settings.service.is_some() { ("svc.user", "true") } else { ("svc.auto", inferred) };
    tags(entry.into_iter().chain([by_whom]))
}

/// The folder of a path; empty if it has none.
pub fn folder(path: &str) -> &str {
    Path::new(path).parent().and_then(Path::to_str).unwrap_or_default()
}

/// The last part of a path; empty if it has none.
pub fn last_part(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The same without the ending of a file.
pub fn stem(path: &str) -> &str {
    Path::new(path).file_stem().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Joins `key:value`, sorted by key. Values are lower case, of letters, digits and `/ . _ -`; everything else becomes one
/// `_`. An empty value leaves its tag out.
fn tags<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let tags = pairs.into_iter().map(|(key, value)| (key, normal(value))).filter(|(_, value)| !value.is_empty());
    let mut tags: Vec<String> = tags.map(|(key, value)| format!("{key}:{value}")).collect();
    tags.sort();
    tags.join(",")
}

fn normal(value: &str) -> String {
    let mut normal = String::with_capacity(value.len().min(MAX_VALUE));
    for c in value.chars().flat_map(char::to_lowercase) {
        let c = if c.is_alphanumeric() || matches!(c, '/' | '.' | '-') { c } else { '_' };
        if c != '_' || !(normal.is_empty() || normal.ends_with('_')) {
            normal.push(c);
        }
    }
    let short: String = normal.chars().take(MAX_VALUE).collect();
    short.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{folder, last_part, of, stem, tags};
    use crate::config::Settings;

    #[test]
    fn tags_are_sorted_and_plain() {
        let given = [
            ("entrypoint.type", "script"),
            ("entrypoint.name", " My  Script,(1)! "),
            ("entrypoint.workdir", ""),
            ("entrypoint.basedir", "___"),
            ("svc.user", "true"),
        ];
        assert_eq!(tags(given), "entrypoint.name:my_script_1,entrypoint.type:script,svc.user:true");
    }

    #[test]
    fn long_values_are_cut_and_end_in_no_separator() {
        let value = format!("{}_{}", "a".repeat(99), "b".repeat(1_000_000));
        assert_eq!(tags([("k", value.as_str())]), format!("k:{}", "a".repeat(99)));
        assert_eq!(tags([("k", "ÄÖ/x.y-z")]), "k:äö/x.y-z");
    }

    #[test]
    fn who_named_the_service_is_told_if_tags_are_wanted() {
        let named = Settings { service: Some("till".to_owned()), ..Settings::default() };
        let unnamed = Settings { service: None, ..named.clone() };
        let entry = [
            ("entrypoint.name", stem("/srv/shop/server.mjs")),
            ("entrypoint.basedir", last_part(folder("/srv/shop/server.mjs"))),
        ];
        assert_eq!(of(&named, "shop", entry), "entrypoint.basedir:shop,entrypoint.name:server,svc.user:true");
        assert_eq!(of(&unnamed, "shop", [("entrypoint.workdir", last_part("/"))]), "svc.auto:shop");
        assert_eq!(of(&Settings { propagate_process_tags: false, ..named }, "shop", entry), "");
    }
}
