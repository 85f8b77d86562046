//! Who this process is: service, host, runtime id, and what was started in it. What only JavaScript knows comes as
//! [`Facts`]. Before both walks; [`crate::session`] asks.

use napi_derive::napi;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use stroboscope_core::config::Settings;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::process::{self, last_part, stem};
use stroboscope_core::emit::render;

/// What JavaScript says of its process and of who asks for the session.
#[napi(object)]
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with one another")]
pub struct Facts {
    /// Who asks: the `program`, the `preload`, or the `command`.
    pub by: String,
    /// Of the command: this is the process that was meant, and no process below it.
    pub first: bool,
    /// The user wants no colours.
    pub no_color: bool,
    /// Events are kept for tests.
    pub keep: bool,
    /// The process has no standard error.
    pub mute: bool,
    /// A fresh UUID, or the one that the vendor's tracer has given this process.
    pub runtime_id: String,
    /// The main script's path; empty if there is none.
    pub main: String,
    /// The working folder; empty if it is gone.
    pub folder: String,
    /// The name in the main script's `package.json`; empty if there is none.
    pub package: String,
    /// The vendor's own debugger runs in this process.
    pub vendor: bool,
    /// Of the command: the streams that it was given, …
    pub streams: Option<String>,
    /// … and, below the first process, where counts are added up; as the addon has told them.
    pub tally: Option<String>,
}

/// 128 random bits, from a seed of the system's. Node's own module for them takes one to two MB of memory.
#[napi]
pub fn random() -> Vec<u32> {
    let seeded = RandomState::new();
    (0..4_u32).map(|part| seeded.hash_one(part) as u32).collect()
}

/// A fresh UUID.
#[napi]
pub fn uuid() -> String {
    let mut bits = [0; 16];
    for (part, word) in bits.chunks_exact_mut(4).zip(random()) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    render::uuid(bits).iter().copied().map(char::from).collect()
}

/// Finds out who this process is.
pub fn find(settings: &Settings, facts: &Facts) -> Identity {
    let inferred = inferred_service(facts);
    let service = settings.service.clone().unwrap_or_else(|| inferred.to_owned());
    let entry = [
        ("entrypoint.basedir", last_part(process::folder(&facts.main))),
        ("entrypoint.name", stem(&facts.main)),
        ("entrypoint.type", "script"),
        ("entrypoint.workdir", last_part(&facts.folder)),
        ("package.json.name", &facts.package),
    ];
    let process_tags = process::of(settings, inferred, entry);
    Identity {
        service,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        runtime_id: facts.runtime_id.clone(),
        pid: std::process::id(),
        parent_id: None,
        process_tags,
    }
}

fn inferred_service(facts: &Facts) -> &str {
    let known = [facts.package.as_str(), stem(&facts.main)];
    known.into_iter().find(|name| !name.is_empty()).unwrap_or("node")
}

#[cfg(test)]
mod tests {
    use super::{Facts, find};
    use stroboscope_core::config::Settings;

    #[test]
    fn a_uuid_is_a_fresh_one() {
        let [one, other] = [super::uuid(), super::uuid()];
        assert!(one != other && one.len() == 36 && one.as_bytes()[14] == b'4', "{one} {other}");
    }

    #[test]
    fn the_service_is_named_by_the_user_or_the_package_or_the_script() {
        let facts = Facts { main: "/srv/shop/server.mjs".to_owned(), ..Facts::default() };
        let named = Settings { service: Some("till".to_owned()), ..Settings::default() };
        assert_eq!(find(&named, &facts).service, "till");
        assert_eq!(find(&Settings::default(), &facts).service, "server");
        let packed = Facts { package: "shop".to_owned(), ..facts };
        let identity = find(&Settings::default(), &packed);
        assert_eq!(identity.service, "shop");
        assert!(identity.process_tags.contains("entrypoint.name:server"), "{}", identity.process_tags);
        assert!(identity.process_tags.contains("svc.auto:shop"), "{}", identity.process_tags);
        assert_eq!(find(&Settings::default(), &Facts::default()).service, "node");
    }
}
