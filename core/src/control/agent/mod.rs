//! The Datadog Agent: where it is, who we are to it, and what it wants. On the walk of a hit going out, after
//! `emit/batch.rs`; the sockets are in `sender.rs`.
//!
//! `info.rs` what it can do · `input.rs` events · `diagnostics.rs` statuses · `symbols.rs` symbols · `traces.rs` spans ·
//! `retry.rs` what to do after an attempt · `http.rs` one exchange.

pub mod diagnostics;
pub mod http;
pub mod info;
pub mod input;
pub mod retry;
pub mod symbols;
pub mod traces;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Secret, Settings};
use crate::control::remote::trust::Trust;
use crate::error::{Error, ErrorKind, Result};

/// The most characters of `ddtags`; the Agent cuts at 4001 and adds its own.
const MAX_TAGS: usize = 3500;

/// Where batches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An Agent over TCP.
    Tcp {
        /// Host name or address, an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Over TLS.
        tls: bool,
        /// What stands before each path, without a slash at the end.
        prefix: String,
    },
    /// An Agent over a Unix socket.
    Unix(PathBuf),
    /// The intake itself, without an Agent.
    Intake {
        /// Host name.
        host: String,
        /// Port.
        port: u16,
        /// Over TLS; without it only to this machine.
        tls: bool,
        /// The key.
        key: Secret,
    },
}

/// The path of the intake.
pub(crate) const INTAKE_PATH: &str = "/api/v2/debugger";

fn unusable(url: &str, why: &str) -> Error {
    Error::new(ErrorKind::Setting, format!("the Agent's address `{url}` cannot be used: {why}"))
}

impl Endpoint {
    /// Reads `http://host:port`, `https://host:port` or `unix:///path`.
    ///
    /// # Errors
    ///
    /// `Setting` with a sentence if the address cannot be used.
    pub fn parse(url: &str) -> Result<Endpoint> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unusable(url, "it has no `http://` or `unix://`"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "unix" if rest.starts_with('/') && rest.len() > 1 => return Ok(Endpoint::Unix(PathBuf::from(rest))),
            "unix" => {
                return Err(unusable(url, "a Unix socket needs an absolute path, as in `unix:///run/agent.socket`"));
            }
            _ => return Err(unusable(url, "only http, https and unix are known")),
        };
        if tls && !cfg!(feature = "tls") {
            return Err(unusable(url, "this build is without TLS"));
        }
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(unusable(url, "a user name is not supported"));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
            return Err(unusable(url, "its path has characters that cannot stand in one"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| unusable(url, "its port is not one"))?;
        if port == Some(0) {
            return Err(unusable(url, "its port is not one"));
        }
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte)) {
            return Err(unusable(url, "it names no host"));
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Endpoint::Tcp { host, port, tls, prefix: prefix.trim_end_matches('/').to_owned() })
    }

    /// The intake of a site, without an Agent.
    ///
    /// # Errors
    ///
    /// `Setting` if the site or the key cannot be used, or the build is without TLS.
    pub fn intake(site: &str, key: &str) -> Result<Endpoint> {
        if !cfg!(feature = "tls") {
            return Err(unusable(site, "this build is without TLS"));
        }
        let host = format!("debugger-intake.{}", site.trim());
        if site.trim().is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
            return Err(Error::new(ErrorKind::Setting, format!("the site `{site}` is not a host name")));
        }
        Ok(Endpoint::Intake { host, port: 443, tls: true, key: checked_key(key)? })
    }

    /// A stand-in for the intake. The key goes over plain HTTP only to this machine.
    ///
    /// # Errors
    ///
    /// `Setting` if the address or the key cannot be used.
    pub fn intake_at(url: &str, key: &str) -> Result<Endpoint> {
        let Endpoint::Tcp { host, port, tls, .. } = Endpoint::parse(url)? else {
            return Err(unusable(url, "the intake is reached over http or https"));
        };
        let loopback = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !tls && !loopback {
            return Err(unusable(url, "the key would be sent in the clear"));
        }
        Ok(Endpoint::Intake { host, port, tls, key: checked_key(key)? })
    }

    /// The address as a line of the log says it.
    pub(crate) fn for_people(&self) -> String {
        match self {
            Endpoint::Unix(path) => path.display().to_string(),
            Endpoint::Tcp { host, port, .. } | Endpoint::Intake { host, port, .. } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Endpoint::Tcp { host, port, .. } | Endpoint::Intake { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// The `Host` header.
    pub(crate) fn host_header(&self) -> String {
        match self {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tcp { host, port, tls, .. } | Endpoint::Intake { host, port, tls, .. } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let usual = if *tls { 443 } else { 80 };
                if *port == usual { host } else { format!("{host}:{port}") }
            }
        }
    }
}

fn checked_key(key: &str) -> Result<Secret> {
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(ErrorKind::Setting, "the API key is empty or has characters that cannot stand in one"));
    }
    Ok(Secret(key.to_owned()))
}

/// Splits `host:port`; `None` if there is something after the host that is no port.
pub(crate) fn split_port(authority: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?.parse().ok()?) };
        return Some((host.to_owned(), port));
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host.to_owned(), Some(port.parse().ok()?))),
        None => Some((authority.to_owned(), None)),
    }
}

/// What the sender needs to know. The defaults are those of the specification.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Where batches go.
    pub endpoint: Endpoint,
    /// The value of `ddtags`, as [`tags`] makes it.
    pub tags: String,
    /// `name/version` of the binding.
    pub user_agent: String,
    /// The entity id if it is set; else it is found out from the control group.
    pub entity_id: Option<String>,
    /// The external environment, if it is set.
    pub external_env: Option<String>,
    /// The user said where it is: then one that cannot be reached is worth a line.
    pub named: bool,
    /// The limit of one whole request.
    pub timeout: Duration,
    /// Certificates, in DER, that are trusted beside the public ones.
    pub trusted: Vec<Vec<u8>>,
    /// Retries, breaker, negotiation.
    pub policy: retry::Policy,
    /// Remote configuration, if it is to be asked for.
    pub remote: Option<Remote>,
    /// Where spans go if no Agent takes them.
    pub otlp: Option<Endpoint>,
}

/// How remote configuration is asked for.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The time between two polls.
    pub interval: Duration,
    /// Whose word counts.
    pub trust: Trust,
}

impl Remote {
    /// From the settings of the process; `None` if there is to be none, which a remark explains if it is a mistake. `read` reads a
    /// file.
    pub fn from_settings(
        settings: &Settings,
        read: &dyn Fn(&Path) -> std::io::Result<String>,
        remarks: &mut Vec<String>,
    ) -> Option<Remote> {
        if !settings.remote_configuration_enabled || settings.agentless_enabled {
            return None;
        }
        let interval = settings.poll_interval;
        let Some(root) = settings.remote_config_trust_root.as_deref() else {
            return Some(Remote { interval, trust: Trust::compatible() });
        };
        let (what, trust) = match Trust::pinned(root) {
            Err(_) if !root.starts_with('{') => {
                let text = read(Path::new(root)).map_err(|error| format!("it cannot be read: {error}"));
                (format!(" {root}"), text.and_then(|text| Trust::pinned(&text)))
            }
            read => (String::new(), read),
        };
        // Without the root that somebody has asked for nobody is trusted.
        trust
            .map(|trust| Remote { interval, trust })
            .map_err(|why| {
                remarks.push(format!(
                    "STROBE_REMOTE_CONFIG_TRUST_ROOT{what}: {why}; no probes are taken from remote configuration"
                ));
            })
            .ok()
    }
}

impl AgentSettings {
    /// Settings for an endpoint, all else by default.
    pub fn new(endpoint: Endpoint) -> Self {
        AgentSettings {
            endpoint,
            tags: String::new(),
            user_agent: concat!("stroboscope/", env!("CARGO_PKG_VERSION")).to_owned(),
            entity_id: None,
            external_env: None,
            named: false,
            timeout: Duration::from_secs(10),
            trusted: Vec::new(),
            policy: retry::Policy::default(),
            remote: None,
            otlp: None,
        }
    }
}

/// Who uploads, as far as only the binding knows.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// `name/version` of the binding.
    pub user_agent: &'a str,
    /// The version of the binding.
    pub debugger_version: &'a str,
    /// The name of this machine.
    pub host_name: &'a str,
    /// The runtime id of this process.
    pub runtime_id: &'a str,
}

impl AgentSettings {
    /// From the settings of the process. `exists` tells whether there is a socket at a path.
    ///
    /// # Errors
    ///
    /// `Setting` with a sentence if there is no place to upload to.
    pub fn from_settings(
        settings: &Settings,
        identity: &Identity<'_>,
        exists: &dyn Fn(&str) -> bool,
    ) -> Result<AgentSettings> {
        let endpoint = if settings.agentless_enabled {
            let key = settings.api_key.as_ref().map(|key| key.0.as_str()).unwrap_or_default();
            Endpoint::intake(&settings.site, key)?
        } else {
            Endpoint::parse(&settings.agent_address(exists))?
        };
        let git = |value: &'static str, of: &Option<String>| {
            of.clone().filter(|_| settings.git_metadata_enabled).map(|text| (value.to_owned(), text))
        };
        let own = [
            ("env", settings.env.as_deref().unwrap_or_default()),
            ("version", settings.version.as_deref().unwrap_or_default()),
            ("debugger_version", identity.debugger_version),
            ("host_name", identity.host_name),
            ("runtime_id", identity.runtime_id),
        ];
        let commit = git("git.commit.sha", &settings.git_commit_sha);
        let repository = git("git.repository_url", &settings.git_repository_url);
        let more = settings.tags.iter().chain(&commit).chain(&repository);
        let more = more.map(|(key, value)| (key.as_str(), value.as_str()));
        Ok(AgentSettings {
            tags: tags(own.into_iter().chain(more)),
            user_agent: identity.user_agent.to_owned(),
            entity_id: settings.entity_id.clone(),
            external_env: settings.external_env.clone(),
            named: settings.agent_is_named(),
            timeout: settings.upload_timeout,
            otlp: Endpoint::parse(settings.otlp_endpoint.as_deref().unwrap_or(traces::OTLP_AT)).ok(),
            ..AgentSettings::new(endpoint)
        })
    }
}

/// Joins tags to the value of `ddtags`, in the order given: `env`, `version`, `debugger_version`, `host_name`,
/// `runtime_id`, the user's, git. Empty ones are left out, and so is one that does not fit any more.
pub fn tags<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut joined = String::new();
    let mut length = 0;
    for (key, value) in pairs {
        if key.is_empty() || value.is_empty() {
            continue;
        }
        let tag: String =
            format!("{key}:{value}").chars().map(|c| if c == ',' || c.is_control() { '_' } else { c }).collect();
        let more = tag.chars().count() + usize::from(length > 0);
        if length + more > MAX_TAGS {
            continue;
        }
        if length > 0 {
            joined.push(',');
        }
        joined.push_str(&tag);
        length += more;
    }
    joined
}

/// Percent-encodes all but unreserved characters and `/`.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The container that this process runs in, as far as the control group tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The container's id.
    pub id: Option<String>,
    /// `ci-<id>`, else `in-<inode of the control group's folder>`.
    pub entity: Option<String>,
}

/// Finds the container from `/proc/self/cgroup`. `inode` gives the inode of a control group's folder, if it exists.
pub fn container(cgroup: &str, inode: impl Fn(&str) -> Option<u64>) -> Container {
    let paths = cgroup.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    if let Some(id) = paths.clone().find_map(|(_, path)| container_id(path)) {
        return Container { entity: Some(format!("ci-{id}")), id: Some(id) };
    }
    // The unified hierarchy has no controllers in its line; in the older one the memory controller stands for all.
    let folder = paths.filter_map(|(controllers, path)| match controllers {
        "" => Some(format!("/sys/fs/cgroup{path}")),
        _ if controllers.split(',').any(|name| name == "memory") => Some(format!("/sys/fs/cgroup/memory{path}")),
        _ => None,
    });
    // Inode 0 is none, 1 the root of the hierarchy, as it is outside of containers.
    let found = folder.filter_map(|folder| inode(&folder)).find(|number| *number > 1);
    Container { id: None, entity: found.map(|number| format!("in-{number}")) }
}

/// The id in the last part of a control group's path: 64 hexadecimal digits, 32 with a number behind, or a UUID; perhaps
/// with a prefix such as `docker-` and the suffix `.scope`.
fn container_id(path: &str) -> Option<String> {
    let last = path.rsplit('/').find(|part| !part.is_empty())?;
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tail = |length: usize| last.get(last.len().checked_sub(length)?..);
    if let Some(id) = tail(64).filter(|id| hex(id)) {
        return Some(id.to_owned());
    }
    let uuid = |id: &str| id.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && id.split('-').all(hex);
    if let Some(id) = tail(36).filter(|id| uuid(id)) {
        return Some(id.to_owned());
    }
    let (id, number) = last.rsplit_once('-')?;
    let id = id.get(id.len().checked_sub(32)?..).filter(|id| hex(id))?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("{id}-{number}"))
}

/// The header lines that every request carries.
pub(crate) fn identity(settings: &AgentSettings, container: &Container) -> String {
    let mut lines = String::new();
    let mut header = |name: &str, value: &str| {
        // A line end in a setting must not become a header of its own.
        if !value.is_empty() && value.chars().all(|c| !c.is_control()) {
            lines.push_str(name);
            lines.push_str(": ");
            lines.push_str(value);
            lines.push_str("\r\n");
        }
    };
    header("User-Agent", &settings.user_agent);
    // Tells tracers and proxies that this request is not the application's.
    header("DD-Internal-Untraced-Request", "1");
    header("Datadog-Container-Id", container.id.as_deref().unwrap_or_default());
    let entity = settings.entity_id.as_deref().or(container.entity.as_deref());
    header("Datadog-Entity-ID", entity.unwrap_or_default());
    header("Datadog-External-Env", settings.external_env.as_deref().unwrap_or_default());
    if let Endpoint::Intake { key, .. } = &settings.endpoint {
        header("DD-API-KEY", &key.0);
        header("DD-EVP-ORIGIN", "agent-debugger");
    }
    lines
}

/// The header lines of a request with symbols.
pub(crate) fn identity_of_symbols(settings: &AgentSettings, identity: &str) -> String {
    if let Endpoint::Intake { .. } = settings.endpoint {
        return identity.replace("DD-EVP-ORIGIN: agent-debugger", "DD-EVP-ORIGIN: agent-symdb");
    }
    // What is in them cannot end the line: `tags` has seen to that.
    if settings.tags.is_empty() {
        return identity.to_owned();
    }
    format!("{identity}X-Datadog-Additional-Tags: {}\r\n", settings.tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, prefix: &str) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port, tls: false, prefix: prefix.into() }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(Endpoint::parse("http://localhost:8126").unwrap(), tcp("localhost", 8126, ""));
        assert_eq!(Endpoint::parse(" HTTP://localhost:8126/ ").unwrap(), tcp("localhost", 8126, ""));
        assert_eq!(Endpoint::parse("http://agent/a/b/").unwrap(), tcp("agent", 80, "/a/b"));
        assert_eq!(Endpoint::parse("http://[::1]:8126").unwrap(), tcp("::1", 8126, ""));
        let socket = Endpoint::Unix("/var/run/datadog/apm.socket".into());
        assert_eq!(Endpoint::parse("unix:///var/run/datadog/apm.socket").unwrap(), socket);
    }

    #[test]
    fn unusable_addresses_say_why() {
        for url in [
            "",
            "localhost:8126",
            "ftp://x",
            "http://",
            "http://:8126",
            "http://x:port",
            "http://x:99999",
            "http://[::1",
            "http://[::1]x",
            "unix://",
            "unix://relative",
            "unix:///",
            "http://u:p@x",
            "http://a b",
            "http://x/\r\nEvil: 1",
            "http://x/?a",
        ] {
            let error = Endpoint::parse(url).expect_err(url);
            assert!(error.text.starts_with("the Agent's address `"), "{error}");
        }
    }

    #[test]
    fn the_host_header_names_the_port_unless_it_is_the_usual_one() {
        assert_eq!(tcp("agent", 8126, "").host_header(), "agent:8126");
        assert_eq!(tcp("agent", 80, "").host_header(), "agent");
        assert_eq!(tcp("::1", 8126, "").host_header(), "[::1]:8126");
        assert_eq!(Endpoint::Unix("/x".into()).host_header(), "localhost");
    }

    #[test]
    fn the_key_goes_in_the_clear_to_this_machine_only() {
        assert!(Endpoint::intake_at("http://127.0.0.1:1", "k").is_ok());
        assert!(Endpoint::intake_at("http://[::1]:1", "k").is_ok());
        assert!(Endpoint::intake_at("http://localhost:1", "k").is_ok());
        assert!(Endpoint::intake_at("http://example.com", "k").is_err());
        assert!(Endpoint::intake_at("http://127.0.0.1.example.com", "k").is_err());
        assert!(Endpoint::intake_at("http://127.0.0.1:1", "k\r\nx").is_err());
        assert!(Endpoint::intake("x/y", "k").is_err());
    }

    #[test]
    fn tags_keep_their_order_and_lose_what_would_break_them() {
        let made = tags([("env", "prod"), ("version", ""), ("team", "a,b\nc"), ("git.repository_url", "https://x/y")]);
        assert_eq!(made, "env:prod,team:a_b_c,git.repository_url:https://x/y");
        assert_eq!(percent_encode("env:prod,team:ä b/c~"), "env%3Aprod%2Cteam%3A%C3%A4%20b/c~");
    }

    #[test]
    fn tags_that_do_not_fit_are_left_out_whole() {
        let long = "x".repeat(MAX_TAGS);
        let made = tags([("env", "prod"), ("huge", &long), ("git.commit.sha", "abc")]);
        assert_eq!(made, "env:prod,git.commit.sha:abc");
        let values: Vec<String> = (0..2000).map(|n| format!("ä{n}")).collect();
        let many = tags(values.iter().map(|value| ("k", value.as_str())));
        assert!((MAX_TAGS - 10..=MAX_TAGS).contains(&many.chars().count()), "{}", many.chars().count());
    }

    #[test]
    fn the_container_is_found() {
        let id = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
        let none = |_: &str| None;
        for line in [
            format!("13:name=systemd:/docker/{id}"),
            format!("0::/system.slice/docker-{id}.scope"),
            format!(
                "11:cpu:/kubepods.slice/kubepods-besteffort.slice/kubepods-pod3d27.slice/cri-containerd-{id}.scope"
            ),
        ] {
            let found = container(&format!("9:x:/\n{line}\n"), none);
            assert_eq!(found.id.as_deref(), Some(id), "{line}");
            assert_eq!(found.entity, Some(format!("ci-{id}")));
        }
        let task = "34dc0b5e626f2c5c4c5170e34b10e765-1234567890";
        assert_eq!(container(&format!("1:name=systemd:/ecs/x/{task}"), none).id.as_deref(), Some(task));
        let uuid = "432624d2-150f-42fe-6397-7b1c";
        assert_eq!(container(&format!("1:x:/{uuid}"), none), Container::default());
    }

    #[test]
    fn without_a_container_id_the_inode_names_the_entity() {
        let inode = |path: &str| (path == "/sys/fs/cgroup/a/b").then_some(4711);
        let found = container("0::/a/b\n", inode);
        assert_eq!(found, Container { id: None, entity: Some("in-4711".into()) });
        assert_eq!(container("0::/\n", |_| Some(1)), Container::default());
        assert_eq!(container("garbage\n:::\n\u{0}", |_| Some(9)).id, None);
    }

    #[test]
    fn a_setting_cannot_smuggle_a_header() {
        let mut settings = AgentSettings::new(tcp("x", 1, ""));
        settings.external_env = Some("it-false\r\nDD-API-KEY: x".into());
        settings.entity_id = Some("en-1".into());
        let lines = identity(&settings, &Container::default());
        assert!(!lines.contains("External"), "{lines}");
        assert!(lines.contains("Datadog-Entity-ID: en-1\r\n"));
    }

    #[test]
    fn remote_configuration_trusts_whom_the_settings_say_or_nobody() {
        const KEY: &str = "7d3102e39abe71044d207550bda239c71380d013ec5a115f79f51622630054e6";
        let with = |root: Option<&str>| {
            let settings = Settings { remote_config_trust_root: root.map(str::to_owned), ..Settings::default() };
            let mut remarks = Vec::new();
            let read = |path: &Path| match path.to_str() {
                Some("/etc/key") => Ok(format!("{KEY}\n")),
                Some("/etc/bad") => Ok("nonsense".to_owned()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            };
            let remote = Remote::from_settings(&settings, &read, &mut remarks);
            (remote.map(|remote| remote.trust.is_pinned()), remarks.concat())
        };
        assert_eq!(with(None), (Some(false), String::new()));
        assert_eq!(with(Some(KEY)), (Some(true), String::new()));
        assert_eq!(with(Some("/etc/key")), (Some(true), String::new()));
        for root in ["/etc/bad", "/etc/none", "{}", "{\"signed\":7}", ""] {
            let (remote, remarks) = with(Some(root));
            assert_eq!(remote, None, "{root}");
            assert!(remarks.starts_with("STROBE_REMOTE_CONFIG_TRUST_ROOT"), "{remarks}");
            assert!(remarks.ends_with("; no probes are taken from remote configuration"), "{remarks}");
        }
        let off = Settings { remote_configuration_enabled: false, ..Settings::default() };
        assert!(Remote::from_settings(&off, &|_| unreachable!(), &mut Vec::new()).is_none());
        let agentless = Settings { agentless_enabled: true, ..Settings::default() };
        assert!(Remote::from_settings(&agentless, &|_| unreachable!(), &mut Vec::new()).is_none());
    }

    #[test]
    fn settings_of_the_process_become_ours() {
        let mut settings = Settings {
            env: Some("prod".into()),
            tags: vec![("team".into(), "shop".into())],
            git_commit_sha: Some("abc".into()),
            git_repository_url: Some("https://x/y".into()),
            git_metadata_enabled: true,
            ..Settings::default()
        };
        let who =
            Identity { user_agent: "stroboscope-python/1", debugger_version: "1", host_name: "web", runtime_id: "r" };
        let made = AgentSettings::from_settings(&settings, &who, &|_| false).unwrap();
        assert_eq!(made.endpoint, tcp("localhost", 8126, ""));
        assert_eq!(
            made.tags,
            "env:prod,debugger_version:1,host_name:web,runtime_id:r,team:shop,git.commit.sha:abc,git.repository_url:https://x/y"
        );
        assert_eq!(made.timeout, Duration::from_secs(10));
        let socket =
            AgentSettings::from_settings(&settings, &who, &|path| path == "/var/run/datadog/apm.socket").unwrap();
        assert_eq!(socket.endpoint, Endpoint::Unix("/var/run/datadog/apm.socket".into()));
        settings.git_metadata_enabled = false;
        settings.agentless_enabled = true;
        let error = AgentSettings::from_settings(&settings, &who, &|_| false).expect_err("there is no key");
        assert!(error.text.contains("key"), "{error}");
        settings.api_key = Some(Secret("s3cret".into()));
        let made = AgentSettings::from_settings(&settings, &who, &|_| false);
        assert_eq!(made.is_ok(), cfg!(feature = "tls"), "the intake needs TLS");
        if let Ok(made) = made {
            assert!(!made.tags.contains("git"));
            assert!(!format!("{made:?}").contains("s3cret"));
        }
    }
}
