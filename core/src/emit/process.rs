//! The tags that say which program an event comes from. Made once, before both walks; each event of the walk of a hit
//! going out carries them.

/// The most characters of a value.
const MAX_VALUE: usize = 100;

/// Joins `key:value`, sorted by key. Values are lower case, of letters, digits and `/ . _ -`; everything else becomes one
/// `_`. An empty value leaves its tag out.
pub fn tags<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
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
    use super::tags;

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
}
