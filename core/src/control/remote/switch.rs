//! Files that switch products on and off (product `APM_TRACING`): what they say, for whom, and which of several counts. On the
//! walk of a configuration going in, in `client.rs`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Products that are not built, by what switches them on: the name of a setting, and of the older form.
const NOT_BUILT: [(&str, &str, &str); 3] = [
    ("DD_EXCEPTION_REPLAY_ENABLED", "exception_replay_enabled", "Exception Replay"),
    ("DD_CODE_ORIGIN_FOR_SPANS_ENABLED", "code_origin_enabled", "Code Origin for Spans"),
    ("DD_LIVE_DEBUGGING_ENABLED", "live_debugging_enabled", "debug sessions"),
];
/// What switches probes on and off, in both forms.
const PROBES: (&str, &str) = ("DD_DYNAMIC_INSTRUMENTATION_ENABLED", "dynamic_instrumentation_enabled");

/// How closely a file means this process; the closest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Organisation,
    Cluster,
    Env,
    Service,
    ServiceAndEnv,
}

/// A file that switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    scope: Scope,
    /// Probes on or off, if it says so.
    pub probes: Option<bool>,
    /// Products that it switches on and that are not built.
    pub not_built: Vec<&'static str>,
}

/// A name as the Agent compares it.
fn normal(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '/' | '-') { c } else { '_' };
    name.trim().chars().flat_map(char::to_lowercase).map(plain).collect()
}

/// Reads a file; `None` if it means other services.
///
/// # Errors
///
/// Why it cannot be used.
pub fn read(bytes: &[u8], service: &str, env: &str) -> Result<Option<Switch>, String> {
    #[derive(Deserialize)]
    struct Text {
        #[serde(default)]
        service_target: Option<Target>,
        #[serde(default)]
        k8s_target_v2: Option<Value>,
        #[serde(default)]
        lib_config: Option<BTreeMap<String, Value>>,
        #[serde(default)]
        sdk_config: Option<Sdk>,
    }
    #[derive(Deserialize, Default)]
    struct Target {
        #[serde(default)]
        service: Option<String>,
        #[serde(default)]
        env: Option<String>,
    }
    #[derive(Deserialize)]
    struct Sdk {
        #[serde(default)]
        config: Option<BTreeMap<String, Value>>,
    }
    let text: Text = serde_json::from_slice(bytes).map_err(|error| format!("it is not the JSON expected: {error}"))?;
    let target = text.service_target.unwrap_or_default();
    let meant = |named: Option<String>| named.filter(|name| !name.is_empty() && name != "*");
    let (for_service, for_env) = (meant(target.service), meant(target.env));
    let is_other = |named: &Option<String>, own: &str| named.as_ref().is_some_and(|name| normal(name) != normal(own));
    if is_other(&for_service, service) || is_other(&for_env, env) {
        return Ok(None);
    }
    let scope = match (for_service.is_some(), for_env.is_some()) {
        (true, true) => Scope::ServiceAndEnv,
        (true, false) => Scope::Service,
        (false, true) => Scope::Env,
        (false, false) if text.k8s_target_v2.is_some_and(|target| !target.is_null()) => Scope::Cluster,
        (false, false) => Scope::Organisation,
    };
    let settings = text.sdk_config.and_then(|sdk| sdk.config).unwrap_or_default();
    let older = text.lib_config.unwrap_or_default();
    let says = |setting: &str, field: &str| match settings.get(setting).and_then(truth) {
        None => older.get(field).and_then(truth),
        said => said,
    };
    let is_on = |(setting, field, product): &(&str, &str, &'static str)| says(setting, field)?.then_some(*product);
    let not_built = NOT_BUILT.iter().filter_map(is_on).collect();
    Ok(Some(Switch { scope, probes: says(PROBES.0, PROBES.1), not_built }))
}

/// Reads a file of the product for symbols: whether they are to be uploaded.
///
/// # Errors
///
/// Why it cannot be used.
pub fn uploads_symbols(bytes: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Text {
        upload_symbols: bool,
    }
    let text: Text = serde_json::from_slice(bytes).map_err(|error| format!("it is not the JSON expected: {error}"))?;
    Ok(text.upload_symbols)
}

/// A truth, or a text that stands for one as in the environment.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// What several files say of probes together: the closest one that says anything. Of two as close the one with the later name
/// counts, so that the order in which they came does not.
pub fn probes(files: &BTreeMap<String, Switch>) -> Option<bool> {
    let said = files.values().filter_map(|file| Some((file.scope, file.probes?)));
    said.max_by_key(|(scope, _)| *scope).map(|(_, on)| on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn switch(file: &Value) -> Option<Switch> {
        read(file.to_string().as_bytes(), "Shop", "prod").unwrap()
    }

    #[test]
    fn both_forms_are_read_and_the_newer_one_first() {
        for (file, probes) in [
            (json!({"lib_config": {"dynamic_instrumentation_enabled": true}}), Some(true)),
            (json!({"lib_config": {"dynamic_instrumentation_enabled": false}}), Some(false)),
            (json!({"lib_config": {"dynamic_instrumentation_enabled": null, "tracing_enabled": true}}), None),
            (json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"}}}), Some(true)),
            (json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "False"}}}), Some(false)),
            (json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "perhaps"}}}), None),
            (
                json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "false"}},
                "lib_config": {"dynamic_instrumentation_enabled": true}}),
                Some(false),
            ),
            (
                json!({"sdk_config": {"config": {}}, "lib_config": {"dynamic_instrumentation_enabled": true}}),
                Some(true),
            ),
            (json!({"sdk_config": null, "lib_config": null, "service_target": null, "k8s_target_v2": null}), None),
            (json!({}), None),
        ] {
            assert_eq!(switch(&file).unwrap().probes, probes, "{file}");
        }
        for wrong in ["", "[", "[]x", r#"{"lib_config":7}"#, r#"{"sdk_config":{"config":[1]}}"#] {
            assert!(read(wrong.as_bytes(), "", "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_for_others_means_nothing_here() {
        for (target, is_meant) in [
            (json!({"service": "shop", "env": "PROD"}), true),
            (json!({"service": "*", "env": "*"}), true),
            (json!({"service": "", "env": null}), true),
            (json!({"service": "till", "env": "*"}), false),
            (json!({"service": "shop", "env": "test"}), false),
        ] {
            assert_eq!(switch(&json!({"service_target": target})).is_some(), is_meant, "{target}");
        }
    }

    #[test]
    fn the_closest_file_counts() {
        let file = |service: &str, env: &str, k8s: Value, on: Value| {
            switch(&json!({"service_target": {"service": service, "env": env}, "k8s_target_v2": k8s,
                "lib_config": {"dynamic_instrumentation_enabled": on}}))
            .unwrap()
        };
        let (on, off, silent) = (json!(true), json!(false), Value::Null);
        // From the closest to the widest, each says the opposite of the one before it.
        let all = [
            file("shop", "prod", Value::Null, silent),
            file("shop", "prod", Value::Null, on.clone()),
            file("shop", "*", Value::Null, off.clone()),
            file("*", "prod", Value::Null, on.clone()),
            file("*", "*", json!([{"kube_cluster": "c"}]), off.clone()),
            file("*", "*", Value::Null, on),
        ];
        for from in 0..all.len() {
            let files = (from..all.len()).map(|at| (format!("{at}"), all[at].clone())).collect();
            let expected = if from == 0 { Some(true) } else { all[from].probes };
            assert_eq!(probes(&files), expected, "{from}");
        }
        assert_eq!(probes(&BTreeMap::new()), None);
    }

    #[test]
    fn products_that_are_not_built_are_named() {
        let file = json!({"lib_config": {"exception_replay_enabled": true, "code_origin_enabled": false},
            "sdk_config": {"config": {"DD_LIVE_DEBUGGING_ENABLED": "true"}}});
        assert_eq!(switch(&file).unwrap().not_built, ["Exception Replay", "debug sessions"]);
    }
}
