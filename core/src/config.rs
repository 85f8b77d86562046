//! Settings: arguments over environment over defaults. The only file that reads the environment. It stands before both
//! walks: the session is started with what is read here.
//!
//! [`ROWS`] is the one table. Reading, log lines and `docs/settings.md` come from it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::agent::Endpoint;
use crate::datagrams::Destination;

/// What may be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// Everything but what is redacted.
    Full,
    /// Types, sizes and keyed hashes, and never a value ([`crate::capture::strict`]).
    Strict,
    /// The same, and numbers and booleans.
    StrictNumbers,
}

/// When events are shown to people, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// If standard error is a terminal, or the command was started.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much of the stack stands in the events of probes that capture nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStack {
    /// All of it.
    All,
    /// The frame of the probe's own place, which is known without a look at the stack.
    Place,
}

/// Where files stand that save work to later processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Nowhere.
    Off,
    /// In our folder among the user's caches. `None`: nobody knows where those are.
    Default(Option<PathBuf>),
    /// In a folder that somebody has named.
    Folder(PathBuf),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// All settings.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a row of the table, which says what it means")]
#[allow(clippy::struct_excessive_bools, reason = "settings are switches")]
pub struct Settings {
    pub enabled: Option<bool>,
    /// What said so, by the name that was used.
    pub enabled_by: String,
    pub dynamic_instrumentation_enabled: Option<bool>,
    pub probe_file: Option<PathBuf>,
    /// `None`: the host's own default.
    pub capture_timeout: Option<Duration>,
    pub evaluation_timeout: Duration,
    pub upload_interval: Duration,
    pub upload_timeout: Duration,
    pub upload_batch_size: usize,
    pub diagnostics_interval: Duration,
    pub max_payload_size: usize,
    pub metrics_enabled: bool,
    pub redacted_identifiers: Vec<String>,
    pub redaction_excluded_identifiers: Vec<String>,
    pub redacted_types: Vec<String>,
    pub poll_interval: Duration,
    pub snapshot_url: Option<String>,
    pub remote_configuration_enabled: bool,
    /// A path, the JSON of a root, or a key.
    pub remote_config_trust_root: Option<String>,
    pub service: Option<String>,
    pub env: Option<String>,
    pub version: Option<String>,
    pub tags: Vec<(String, String)>,
    pub git_commit_sha: Option<String>,
    pub git_repository_url: Option<String>,
    pub git_metadata_enabled: bool,
    pub trace_agent_url: Option<String>,
    /// An Agent was named by an address that cannot be used, so the default is used as if it had been named.
    pub agent_named: bool,
    pub agent_host: Option<String>,
    pub trace_agent_port: Option<u16>,
    pub dogstatsd_url: Option<String>,
    pub dogstatsd_host: Option<String>,
    pub dogstatsd_port: Option<u16>,
    pub otlp_endpoint: Option<String>,
    pub agentless_enabled: bool,
    pub api_key: Option<Secret>,
    pub site: String,
    pub external_env: Option<String>,
    pub entity_id: Option<String>,
    pub propagate_process_tags: bool,
    pub third_party_includes: Vec<String>,
    pub third_party_excludes: Vec<String>,
    pub symbol_database_upload_enabled: bool,
    pub symbol_database_force_upload: bool,
    pub symbol_database_includes: Vec<String>,
    pub cpu_budget: f64,
    pub capture: CaptureMode,
    pub capture_key: Option<Secret>,
    pub rate_limits: bool,
    /// The end explains each probe.
    pub explain: bool,
    /// `None`: the host's own default.
    pub log_stack: Option<LogStack>,
    pub cache: Cache,
    pub ndjson: Option<PathBuf>,
    pub terminal: Show,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: None,
            enabled_by: "STROBE_ENABLED".to_owned(),
            dynamic_instrumentation_enabled: None,
            probe_file: None,
            capture_timeout: None,
            evaluation_timeout: Duration::from_millis(50),
            upload_interval: Duration::from_secs(1),
            upload_timeout: Duration::from_secs(10),
            upload_batch_size: 1000,
            diagnostics_interval: Duration::from_secs(3600),
            max_payload_size: 1024 * 1024,
            metrics_enabled: false,
            redacted_identifiers: Vec::new(),
            redaction_excluded_identifiers: Vec::new(),
            redacted_types: Vec::new(),
            poll_interval: Duration::from_secs(5),
            snapshot_url: None,
            remote_configuration_enabled: true,
            remote_config_trust_root: None,
            service: None,
            env: None,
            version: None,
            tags: Vec::new(),
            git_commit_sha: None,
            git_repository_url: None,
            git_metadata_enabled: true,
            trace_agent_url: None,
            agent_named: false,
            agent_host: None,
            trace_agent_port: None,
            dogstatsd_url: None,
            dogstatsd_host: None,
            dogstatsd_port: None,
            otlp_endpoint: None,
            agentless_enabled: false,
            api_key: None,
            site: "datadoghq.com".to_owned(),
            external_env: None,
            entity_id: None,
            propagate_process_tags: true,
            third_party_includes: Vec::new(),
            third_party_excludes: Vec::new(),
            symbol_database_upload_enabled: true,
            symbol_database_force_upload: false,
            symbol_database_includes: Vec::new(),
            cpu_budget: 2.0,
            capture: CaptureMode::Full,
            capture_key: None,
            rate_limits: true,
            explain: false,
            log_stack: None,
            cache: Cache::Default(None),
            ndjson: None,
            terminal: Show::Auto,
        }
    }
}

/// Reads the text of a setting, or says what was expected.
type Read = fn(&mut Settings, &str) -> Result<(), &'static str>;

/// How a host writes the names of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `capture_timeout_ms`.
    Snake,
    /// `captureTimeoutMs`.
    Camel,
}

/// What a program may give for a setting. A text can always stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// A text, and nothing that only looks like one: a number would become the name of a file or a service.
    Name,
    Text,
    List,
    Table,
}

/// One setting.
pub struct Row {
    /// The argument's name.
    pub option: &'static str,
    /// The environment variables, the one that wins first.
    pub variables: &'static [&'static str],
    /// The default, for people.
    pub default: &'static str,
    /// What it means, in a sentence.
    pub doc: &'static str,
    /// True if its value is never written anywhere.
    secret: bool,
    /// True if what it is for is not built yet.
    later: bool,
    takes: Takes,
    read: Read,
}

impl Row {
    /// The argument's name as a host writes it.
    fn name(&self, spelling: Spelling) -> String {
        match spelling {
            Spelling::Snake => self.option.to_owned(),
            Spelling::Camel => self.camel_case(),
        }
    }

    /// The argument's name where names are written in camel case.
    pub fn camel_case(&self) -> String {
        let mut words = self.option.split('_');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            name.push_str(&first.to_ascii_uppercase());
            name.push_str(rest);
        }
        name
    }
}

const fn row(
    option: &'static str,
    variables: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
    read: Read,
) -> Row {
    Row { option, variables, default, doc, secret: false, later: false, takes: Takes::Text, read }
}

const fn many(mut row: Row) -> Row {
    row.takes = Takes::List;
    row
}

const fn name(mut row: Row) -> Row {
    row.takes = Takes::Name;
    row
}

const fn secret(mut row: Row) -> Row {
    row.secret = true;
    row
}

const fn later(mut row: Row) -> Row {
    row.later = true;
    row
}

/// Sets a field to what a reader makes of the text.
macro_rules! set {
    ($field:ident, $read:expr) => {
        |settings, text| {
            settings.$field = $read(text)?;
            Ok(())
        }
    };
}

/// Every setting.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    row("enabled", &["STROBE_ENABLED"], "as `DD_DYNAMIC_INSTRUMENTATION_ENABLED`",
        "On or off. It beats `DD_DYNAMIC_INSTRUMENTATION_ENABLED`. `true` also allows it beside the vendor's own debugger.",
        set!(enabled, some(switch))),
    row("dynamic_instrumentation_enabled", &["DD_DYNAMIC_INSTRUMENTATION_ENABLED"], "`false`",
        "On at start, where the folder `_preload` is on `PYTHONPATH` (docs/probe-file.md).", set!(dynamic_instrumentation_enabled, some(boolean))),
    name(row("probe_file", &["DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"], "none",
        "A file with a JSON array of probes, read once at start.", set!(probe_file, path))),
    row("capture_timeout_ms", &["DD_DYNAMIC_INSTRUMENTATION_CAPTURE_TIMEOUT_MS", "DD_DYNAMIC_INSTRUMENTATION_CAPTURE_TIMEOUT"],
        "`100`; Node `15`", "Milliseconds that the capture of one hit may take.", set!(capture_timeout, some(milliseconds))),
    row("evaluation_timeout_ms", &["DD_DYNAMIC_INSTRUMENTATION_EVALUATION_TIMEOUT_MS"], "`50`",
        "Milliseconds that one expression may take.", set!(evaluation_timeout, milliseconds)),
    row("upload_flush_interval", &["DD_DYNAMIC_INSTRUMENTATION_UPLOAD_FLUSH_INTERVAL"], "as `upload_interval_seconds`",
        "Older name of `upload_interval_seconds`, which wins. A number from 10 is milliseconds, a smaller one seconds.",
        set!(upload_interval, flush_interval)),
    row("upload_interval_seconds", &["DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS"], "`1.0`",
        "Seconds until a batch is sent, counted from its first event.", set!(upload_interval, seconds)),
    row("upload_timeout", &["DD_DYNAMIC_INSTRUMENTATION_UPLOAD_TIMEOUT"], "`10`",
        "Seconds that one request may take.", set!(upload_timeout, seconds)),
    row("upload_batch_size", &["DD_DYNAMIC_INSTRUMENTATION_UPLOAD_BATCH_SIZE"], "`1000`",
        "Events in one request, at most 1000.", set!(upload_batch_size, batch_size)),
    row("diagnostics_interval", &["DD_DYNAMIC_INSTRUMENTATION_DIAGNOSTICS_INTERVAL"], "`3600`",
        "Seconds until the statuses of all probes are sent again.", set!(diagnostics_interval, seconds)),
    later(row("max_payload_size", &["DD_DYNAMIC_INSTRUMENTATION_MAX_PAYLOAD_SIZE"], "`1048576`",
        "Bytes of configuration that are accepted.", set!(max_payload_size, positive))),
    row("metrics_enabled", &["DD_DYNAMIC_INSTRUMENTATION_METRICS_ENABLED"], "`false`",
        "Tell every ten seconds how probes and uploads fare, as metrics `datadog.debugger.…`, to where metrics go.",
        set!(metrics_enabled, boolean)),
    many(row("redacted_identifiers", &["DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS"], "empty",
        "Names, separated by commas, whose values are withheld too.", set!(redacted_identifiers, list))),
    many(row("redaction_excluded_identifiers", &["DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS"], "empty",
        "Names, separated by commas, whose values are shown. It beats every list of withheld names.",
        set!(redaction_excluded_identifiers, list))),
    many(row("redacted_types", &["DD_DYNAMIC_INSTRUMENTATION_REDACTED_TYPES"], "empty",
        "Types, separated by commas, whose values are withheld; `*` stands for any characters.", set!(redacted_types, list))),
    row("poll_interval_seconds", &["DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS", "DD_DYNAMIC_INSTRUMENTATION_POLL_INTERVAL"], "`5`",
        "Seconds between two looks for a new configuration, give or take a tenth.", set!(poll_interval, seconds)),
    later(name(row("snapshot_url", &["DD_DYNAMIC_INSTRUMENTATION_SNAPSHOT_URL"], "none",
        "Sends events to this address instead.", set!(snapshot_url, http_url)))),
    row("remote_configuration_enabled", &["DD_REMOTE_CONFIGURATION_ENABLED"], "`true`",
        "Take probes from the Agent's remote configuration, wherever events go to an Agent.", set!(remote_configuration_enabled, boolean)),
    name(row("remote_config_trust_root", &["STROBE_REMOTE_CONFIG_TRUST_ROOT"], "none",
        "Whose signature remote configuration must have: a file with a TUF root, the JSON of one, or an Ed25519 public key of 64 hexadecimal digits. Without it whoever answers at the Agent's address is believed; with one that cannot be used nobody is.",
        set!(remote_config_trust_root, trust_root))),
    name(row("service", &["DD_SERVICE"], "found out", "The name of the service.", set!(service, text))),
    name(row("env", &["DD_ENV"], "none", "The environment, such as `prod`.", set!(env, text))),
    row("version", &["DD_VERSION"], "none", "The version of the service.", set!(version, text)),
    Row { takes: Takes::Table, ..row("tags", &["DD_TAGS"], "empty", "Tags, as `key:value,key:value`.", set!(tags, tags)) },
    name(row("git_commit_sha", &["DD_GIT_COMMIT_SHA"], "none", "The commit that is running.", set!(git_commit_sha, text))),
    name(row("git_repository_url", &["DD_GIT_REPOSITORY_URL"], "none", "The repository of the code.", set!(git_repository_url, repository))),
    row("git_metadata_enabled", &["DD_TRACE_GIT_METADATA_ENABLED"], "`true`",
        "Send the commit and the repository.", set!(git_metadata_enabled, boolean)),
    name(row("trace_agent_url", &["DD_TRACE_AGENT_URL"], "none",
        "Where the Agent is: `http://host:port` or `unix:///path`, a path as it stands, without escapes (`%20`). It beats host and port.", set!(trace_agent_url, agent_url))),
    name(row("agent_host", &["DD_AGENT_HOST"], "`localhost`", "The Agent's host.", set!(agent_host, host))),
    row("trace_agent_port", &["DD_TRACE_AGENT_PORT"], "`8126`", "The Agent's port.", set!(trace_agent_port, some(port))),
    name(row("dogstatsd_url", &["DD_DOGSTATSD_URL"], "none",
        "Where metrics go: `udp://host:port` or `unix:///path`. It beats host and port.", set!(dogstatsd_url, dogstatsd_url))),
    name(row("dogstatsd_host", &["DD_DOGSTATSD_HOST"], "as `agent_host`", "The host that metrics go to.", set!(dogstatsd_host, host))),
    row("dogstatsd_port", &["DD_DOGSTATSD_PORT"], "`8125`", "The port that metrics go to.", set!(dogstatsd_port, some(port))),
    name(row("otlp_endpoint", &["OTEL_EXPORTER_OTLP_ENDPOINT"], "`http://localhost:4318`",
        "Where the spans of span probes go if the application has no tracer and no Agent takes them: a receiver of OTLP over HTTP.", set!(otlp_endpoint, http_url))),
    row("agentless_enabled", &["DD_AGENTLESS_ENABLED"], "`false`",
        "Send events to the intake without an Agent; needs `api_key`.", set!(agentless_enabled, boolean)),
    secret(name(row("api_key", &["DD_API_KEY"], "none", "The key for sending without an Agent.", set!(api_key, api_key)))),
    name(row("site", &["DD_SITE"], "`datadoghq.com`", "The site that events go to without an Agent.", set!(site, site))),
    name(row("external_env", &["DD_EXTERNAL_ENV"], "none", "Tells the Agent which container this is.", set!(external_env, text))),
    name(row("entity_id", &["DD_ENTITY_ID"], "found out", "Tells the Agent which container this is.", set!(entity_id, text))),
    row("propagate_process_tags", &["DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED"], "`true`",
        "Say in each event which program it comes from.", set!(propagate_process_tags, boolean)),
    later(many(row("third_party_includes", &["DD_THIRD_PARTY_DETECTION_INCLUDES"], "empty",
        "Packages, separated by commas, that count as libraries.", set!(third_party_includes, list)))),
    later(many(row("third_party_excludes", &["DD_THIRD_PARTY_DETECTION_EXCLUDES"], "empty",
        "Packages, separated by commas, that count as the application's own.", set!(third_party_excludes, list)))),
    row("symbol_database_upload_enabled", &["DD_SYMBOL_DATABASE_UPLOAD_ENABLED"], "`true`",
        "Allow the names of the program's modules, classes, functions and variables to be uploaded, when remote configuration asks for that (docs/symbols.md).",
        set!(symbol_database_upload_enabled, boolean)),
    row("symbol_database_force_upload", &["_DD_SYMBOL_DATABASE_FORCE_UPLOAD", "DD_INTERNAL_FORCE_SYMBOL_DATABASE_UPLOAD"], "`false`",
        "Upload them from the start, without being asked.", set!(symbol_database_force_upload, boolean)),
    many(row("symbol_database_includes", &["DD_SYMBOL_DATABASE_INCLUDES"], "empty",
        "Packages, separated by commas, whose names are uploaded too although they are libraries. Python only.", set!(symbol_database_includes, list))),
    row("cpu_budget", &["STROBE_CPU_BUDGET"], "`2`",
        "Per cent of one core that all probes together may cost: above 0, at most 100. Above it the dearest probe is paused.", set!(cpu_budget, percent)),
    name(row("capture", &["STROBE_CAPTURE"], "`full`",
        "What of values leaves the process: `full`, all but secrets; `strict`, types, sizes and keyed hashes; `strict+numbers`, numbers and booleans too ([strict capture](strict-capture.md)).", read_capture)),
    secret(name(row("capture_key", &["STROBE_CAPTURE_KEY"], "random",
        "The key of the hashes of strict capture: processes that share it have equal hashes for equal values. By default each process has its own.", set!(capture_key, own_secret)))),
    row("rate_limits", &["STROBE_RATE_LIMITS"], "`on`",
        "`off` lifts the rates of all probes and of the process. For tests and benchmarks.", set!(rate_limits, switch)),
    row("log_stack", &["STROBE_LOG_STACK"], "`all`; Node `place`",
        "What stands in `stack` of events of probes that capture nothing: `all` of it, or `place`, the frame of the probe's own place. Where captures stop an event loop, taking a stack costs most of such a hit.",
        set!(log_stack, some(log_stack))),
    row("cache", &["STROBE_CACHE"], "`~/.cache/stroboscope`",
        "A folder of this user alone, by its absolute path, in which Node keeps what it has put into modules, so that later starts need not do it again: at most 256 MB. By default it is below `XDG_CACHE_HOME`, if that is set; `off`: nothing is kept. Python has no use for it.",
        set!(cache, cache)),
    name(row("ndjson", &["STROBE_NDJSON"], "none",
        "A file to which events are written, one JSON object a line; `-` is standard output.", set!(ndjson, path))),
    row("explain", &["STROBE_EXPLAIN"], "`off`",
        "`on`: the end says of each probe what was searched and found, whether the code ran, and what became of its hits, in sentences, as the command `explain` asks for.",
        set!(explain, switch)),
    row("terminal", &["STROBE_TERMINAL"], "`auto`",
        "Whether events are shown on standard error: `auto`, `always` or `never`.", set!(terminal, show)),
];

/// Variables of products that are not built, with a default of off or of no meaning to us. If one is switched on, a line
/// says that it does nothing.
static NOT_BUILT: &[(&str, &str)] = &[
    ("DD_EXCEPTION_REPLAY_ENABLED", "Exception Replay"),
    ("DD_CODE_ORIGIN_FOR_SPANS_ENABLED", "Code Origin for Spans"),
    ("DD_LIVE_DEBUGGING_ENABLED", "debug sessions"),
    ("DD_DISTRIBUTED_DEBUGGER_ENABLED", "debug sessions"),
];

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false"),
    }
}

/// The same where the documentation says on and off.
fn switch(text: &str) -> Result<bool, &'static str> {
    boolean(text).map_err(|_| "on or off")
}

/// A reader whose field has no default.
fn some<T>(read: fn(&str) -> Result<T, &'static str>) -> impl Fn(&str) -> Result<Option<T>, &'static str> {
    move |text| read(text).map(Some)
}

/// One line: texts become headers, tags and lines of the log.
fn text(text: &str) -> Result<Option<String>, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("a text of one line, without control characters");
    }
    Ok(if text.is_empty() { None } else { Some(text.to_owned()) })
}

/// The same where blanks, line ends too, only stand between the parts.
fn parts(text: &str) -> Result<&str, &'static str> {
    let unusable = text.chars().any(|c| c.is_control() && !c.is_whitespace());
    if unusable { Err("a text without control characters") } else { Ok(text) }
}

fn path(text: &str) -> Result<Option<PathBuf>, &'static str> {
    if text.contains('\0') { Err("a path") } else { Ok(Some(PathBuf::from(text)).filter(|_| !text.is_empty())) }
}

/// Whether it can be used is known when it is: until then somebody has asked for it.
#[allow(clippy::unnecessary_wraps, reason = "a reader like the others")]
fn trust_root(text: &str) -> Result<Option<String>, &'static str> {
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

#[allow(clippy::unnecessary_wraps, reason = "a reader like the others")]
fn own_secret(text: &str) -> Result<Option<Secret>, &'static str> {
    Ok(if text.is_empty() { None } else { Some(Secret(text.to_owned())) })
}

/// A key of an intake, which becomes a header.
fn api_key(text: &str) -> Result<Option<Secret>, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key: it has characters that cannot stand in one");
    }
    own_secret(text)
}

fn list(text: &str) -> Result<Vec<String>, &'static str> {
    Ok(parts(text)?.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// `key:value`, separated by commas, or by blanks if there is no comma.
fn tags(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let separator = |c: char| if text.contains(',') { c == ',' } else { c.is_whitespace() };
    let pairs = parts(text)?.split(separator).map(|tag| tag.trim().split_once(':').unwrap_or((tag.trim(), "")));
    let pairs = pairs.filter(|(key, _)| !key.trim().is_empty());
    Ok(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect())
}

/// The address of a repository, without a user and password: those are not for an Agent to know.
fn repository(text: &str) -> Result<Option<String>, &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else { return self::text(text) };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    self::text(&format!("{scheme}://{host}{path}"))
}

fn positive(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("a whole number from 1")
}

fn batch_size(text: &str) -> Result<usize, &'static str> {
    positive(text).ok().filter(|number| *number <= 1000).ok_or("a whole number from 1 to 1000")
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port > 0).ok_or("a port, 1 to 65535")
}

fn milliseconds(text: &str) -> Result<Duration, &'static str> {
    let number = text.parse::<u32>().ok().filter(|number| *number > 0);
    number.map(|number| Duration::from_millis(number.into())).ok_or("a whole number of milliseconds, 1 to 4294967295")
}

/// Longer intervals than this are typing errors.
const LONGEST: f64 = 31.0 * 86_400.0;

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= LONGEST);
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.filter(|duration| *duration >= Duration::from_millis(1)).ok_or("a number of seconds, 0.001 to 2678400")
}

fn flush_interval(text: &str) -> Result<Duration, &'static str> {
    match text.parse::<f64>() {
        Ok(number) if number >= 10.0 => seconds(&(number / 1000.0).to_string()),
        _ => seconds(text),
    }
    .map_err(|_| "a number of milliseconds, 10 to 2678400000, or of seconds from 0.001")
}

fn percent(text: &str) -> Result<f64, &'static str> {
    let number = text.trim_end_matches('%').trim().parse::<f64>().ok();
    number.filter(|number| *number > 0.0 && *number <= 100.0).ok_or("a number above 0, at most 100")
}

fn host(text: &str) -> Result<Option<String>, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if bare.chars().all(allowed) { self::text(bare) } else { Err("a host name or address") }
}

fn site(text: &str) -> Result<String, &'static str> {
    match host(text) {
        Ok(Some(site)) => Ok(site),
        _ => Err("a host name"),
    }
}

fn url(text: &str, schemes: &[&str], expected: &'static str) -> Result<Option<String>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").ok_or(expected)?;
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split('/').next().unwrap_or_default();
    let path = rest.starts_with('/') && rest.len() > 1;
    let whole = if scheme == "unix" { path } else { !host.is_empty() && !host.contains('@') };
    if schemes.contains(&scheme.as_str()) && whole { Ok(Some(format!("{scheme}://{rest}"))) } else { Err(expected) }
}

fn agent_url(text: &str) -> Result<Option<String>, &'static str> {
    const EXPECTED: &str = "an address such as http://host:port or unix:///path";
    // What can be connected to is known in one place.
    if !text.is_empty() && Endpoint::parse(text).is_err() {
        return Err(EXPECTED);
    }
    url(text, &["http", "https", "unix"], EXPECTED)
}

fn dogstatsd_url(text: &str) -> Result<Option<String>, &'static str> {
    // What can be sent to is known in one place.
    let usable = text.is_empty() || Destination::parse(text).is_some();
    if usable { self::text(text) } else { Err("udp://host:port or unix:///path") }
}

fn http_url(text: &str) -> Result<Option<String>, &'static str> {
    url(text, &["http", "https"], "http://host:port/path")
}

fn show(text: &str) -> Result<Show, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Show::Auto),
        "always" => Ok(Show::Always),
        "never" => Ok(Show::Never),
        _ => Err("auto, always or never"),
    }
}

fn log_stack(text: &str) -> Result<LogStack, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "all" => Ok(LogStack::All),
        "place" => Ok(LogStack::Place),
        _ => Err("all or place"),
    }
}

fn cache(text: &str) -> Result<Cache, &'static str> {
    const EXPECTED: &str = "off or an absolute path";
    if boolean(text) == Ok(false) {
        return Ok(Cache::Off);
    }
    // Below each working folder of a process there would be another one.
    match path(text).map_err(|_| EXPECTED)? {
        None => Ok(Cache::Default(None)),
        Some(folder) if folder.is_absolute() => Ok(Cache::Folder(folder)),
        Some(_) => Err(EXPECTED),
    }
}

/// Our folder among the caches of the user, as desktops have agreed on it: a path that is not absolute does not count.
fn default_cache(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = |name: &str| {
        let text = environment(name).filter(|text| !text.contains([char::REPLACEMENT_CHARACTER, '\0']))?;
        Some(PathBuf::from(text)).filter(|path| path.is_absolute())
    };
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("stroboscope"))
}

/// A mode that is not known is taken as strict: who wrote it wanted less to be shown, not all.
fn read_capture(settings: &mut Settings, text: &str) -> Result<(), &'static str> {
    settings.capture = CaptureMode::Strict;
    match text.to_ascii_lowercase().as_str() {
        "full" => settings.capture = CaptureMode::Full,
        "strict" => {}
        "strict+numbers" => settings.capture = CaptureMode::StrictNumbers,
        _ => return Err("full, strict or strict+numbers"),
    }
    Ok(())
}

/// Where a value came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Environment,
    Argument,
}

/// The text of what a program gives for a setting: `kind` is what the host has found it to be (`text`, `list`, `table`, whose
/// parts are texts, as `key:value` in a table; `number` and `truth` of a text that stands for one), or says what else it is. An error
/// says what it should be.
pub fn argument(name: &str, kind: &str, parts: &[String], spelling: Spelling) -> Result<String, String> {
    let row = ROWS.iter().find(|row| row.name(spelling) == name);
    let takes = row.map_or(Takes::Table, |row| row.takes);
    let fits = match kind {
        "text" => true,
        // One that is not known is told as such.
        "number" | "truth" => row.is_none() || takes == Takes::Text,
        "list" => matches!(takes, Takes::List | Takes::Table),
        "table" => takes == Takes::Table,
        _ => false,
    };
    if fits {
        return Ok(parts.join(","));
    }
    let expected = match takes {
        Takes::Name => "a text",
        Takes::Text => "a text, a number, or true or false",
        Takes::List => "a text, or a list of texts",
        Takes::Table => "a text, a list of texts, or a table of them",
    };
    let given = match kind {
        "truth" => "true or false".to_owned(),
        "list" | "table" | "number" => format!("a {kind}"),
        _ => kind.to_owned(),
    };
    Err(format!("the setting '{name}' takes {expected}; got {given}"))
}

impl Settings {
    /// Reads settings from arguments (option names as the host writes them, and their texts) and the environment. What comes
    /// with them are lines for the log, one for each value that cannot be used.
    pub fn resolve(
        arguments: &[(String, String)],
        spelling: Spelling,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mut log = Vec::new();
        // An interval has two names; the older one's wins only if the newer one comes from further away.
        let mut flush: Option<(Origin, Duration)> = None;
        let mut key_is_bad = false;
        for row in ROWS {
            let Some((name, text, origin)) = source(row, &row.name(spelling), arguments, environment) else { continue };
            let before = settings.upload_interval;
            // What was no text has this in the place of its bytes: it names nothing that is there.
            let read = if text.contains(char::REPLACEMENT_CHARACTER) {
                Err("UTF-8 text")
            } else {
                (row.read)(&mut settings, text.trim())
            };
            if let Err(expected) = read {
                log.push(complaint(row, &name, &text, expected));
                settings.agent_named |= row.option == "trace_agent_url";
                // What is said there is not said again below.
                key_is_bad |= row.option == "api_key";
                // Who names a root of trust does not want to do without one.
                settings.remote_configuration_enabled &= row.option != "remote_config_trust_root";
                continue;
            }
            match row.option {
                "upload_flush_interval" => flush = Some((origin, settings.upload_interval)),
                "upload_interval_seconds" if flush.is_some_and(|(older, _)| older > origin) => {
                    settings.upload_interval = before;
                }
                _ => {}
            }
        }
        if settings.cache == Cache::Default(None) {
            settings.cache = Cache::Default(default_cache(environment));
        }
        for (name, _) in arguments {
            if !ROWS.iter().any(|row| row.name(spelling) == *name) {
                log.push(format!("the option '{name}' is unknown and ignored"));
            }
        }
        for (variable, product) in NOT_BUILT {
            let Some(text) = environment(variable).filter(|text| !text.trim().is_empty()) else { continue };
            match boolean(text.trim()) {
                Ok(true) => log.push(format!("{variable} is on, but this version does not have {product}")),
                Ok(false) => {}
                Err(expected) => {
                    let shown = shown(&text);
                    log.push(format!("{variable}: {shown} is not {expected}; the default is used: false"));
                }
            }
        }
        // By the name that was used: arguments go before the environment.
        let used = |option: &str, variable: &str| {
            let called = ROWS.iter().find(|row| row.option == option).map(|row| row.name(spelling));
            called.filter(|called| arguments.iter().any(|(name, _)| name == called)).unwrap_or(variable.to_owned())
        };
        settings.enabled_by = used("enabled", "STROBE_ENABLED");
        for (key, _) in settings.tags.iter().filter(|(_, value)| value.is_empty()) {
            let (name, key) = (used("tags", "DD_TAGS"), shown(key));
            log.push(format!("{name}: {key} has no value and is left out; a tag is key:value"));
        }
        if settings.agentless_enabled && settings.api_key.is_none() {
            let (name, key) = (used("agentless_enabled", "DD_AGENTLESS_ENABLED"), used("api_key", "DD_API_KEY"));
            log.push(if key_is_bad {
                format!("{name} is on, but {key} cannot be used; events go to an Agent")
            } else {
                format!("{name} is on, but {key} is not set; events go to an Agent")
            });
            settings.agentless_enabled = false;
        }
        if settings.agentless_enabled && settings.remote_configuration_enabled {
            log.push(
                "without an Agent there is no remote configuration; probes come from the probe file only".to_owned(),
            );
        }
        (settings, log)
    }

    /// Reads settings from arguments and the environment of the process.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_environment(arguments: &[(String, String)], spelling: Spelling) -> (Settings, Vec<String>) {
        Settings::resolve(arguments, spelling, &|name| {
            std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
        })
    }

    /// Why nothing is started, if so. `asked` is true if the program or the command asked for it, `vendor` if the
    /// vendor's own debugger runs in this process.
    pub fn off(&self, asked: bool, vendor: bool) -> Option<Cow<'static, str>> {
        let on = self.dynamic_instrumentation_enabled.unwrap_or(false);
        match self.enabled {
            Some(true) => None,
            Some(false) => Some(format!("it is switched off ({})", self.enabled_by).into()),
            None if vendor => {
                Some("the vendor's own debugger runs in this process; set STROBE_ENABLED=true to run both".into())
            }
            None if asked || on => None,
            None => {
                Some("it is not switched on; set DD_DYNAMIC_INSTRUMENTATION_ENABLED=true or STROBE_ENABLED=true".into())
            }
        }
    }

    /// True if the user said where an Agent is.
    pub fn agent_is_configured(&self) -> bool {
        self.agent_named
            || self.trace_agent_url.is_some()
            || self.agent_host.is_some()
            || self.trace_agent_port.is_some()
    }

    /// True if somebody said where events are to go. If not, and nobody is there, that is nothing to complain about.
    pub fn agent_is_named(&self) -> bool {
        self.agent_is_configured() || self.agentless_enabled
    }

    /// The Agent's address. `exists` tells whether there is a socket at a path.
    pub fn agent_address(&self, exists: &dyn Fn(&str) -> bool) -> String {
        const SOCKET: &str = "/var/run/datadog/apm.socket";
        if let Some(url) = &self.trace_agent_url {
            return url.clone();
        }
        if self.agent_host.is_none() && self.trace_agent_port.is_none() && exists(SOCKET) {
            return format!("unix://{SOCKET}");
        }
        format!("http://{}", authority(self.agent_host.as_deref(), self.trace_agent_port.unwrap_or(8126)))
    }

    /// True if somebody said where metrics are to go.
    pub fn dogstatsd_is_named(&self) -> bool {
        self.dogstatsd_url.is_some() || self.dogstatsd_host.is_some() || self.dogstatsd_port.is_some()
    }

    /// Where metrics go. `exists` tells whether there is a socket at a path.
    pub fn dogstatsd_address(&self, exists: &dyn Fn(&str) -> bool) -> String {
        const SOCKET: &str = "/var/run/datadog/dsd.socket";
        if let Some(url) = &self.dogstatsd_url {
            return url.clone();
        }
        let host = self.dogstatsd_host.as_deref().or(self.agent_host.as_deref());
        if host.is_none() && self.dogstatsd_port.is_none() && exists(SOCKET) {
            return format!("unix://{SOCKET}");
        }
        format!("udp://{}", authority(host, self.dogstatsd_port.unwrap_or(8125)))
    }
}

fn authority(host: Option<&str>, port: u16) -> String {
    match host.unwrap_or("localhost") {
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

/// The text of a setting, what to call it, and where it came from. An empty variable is as good as none; an empty
/// argument is meant.
fn source(
    row: &Row,
    called: &str,
    arguments: &[(String, String)],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, String, Origin)> {
    if let Some((name, text)) = arguments.iter().rev().find(|(name, _)| name == called) {
        return Some((name.clone(), text.clone(), Origin::Argument));
    }
    let set = |name: &str| environment(name).filter(|text| !text.trim().is_empty());
    let found = row.variables.iter().find_map(|name| Some((*name, set(name)?)));
    found.map(|(name, text)| (name.to_owned(), text, Origin::Environment))
}

/// A value for a line of the log.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(100).filter(|c| !c.is_control()).collect();
    format!("'{shown}'")
}

/// What a line says of a default that only the binding knows: it puts the number there.
pub const RUNTIME_DEFAULT: &str = "the default of this runtime is used";

/// The line for a value that cannot be used.
fn complaint(row: &Row, name: &str, text: &str, expected: &str) -> String {
    // An address may hold a password.
    let secret = row.secret || (text.contains("://") && text.contains('@'));
    let shown = if secret { "its value".to_owned() } else { shown(text) };
    let used = match row.option {
        "capture" => "'strict' is used, so that nothing is shown by mistake".to_owned(),
        "trace_agent_url" => "the Agent's host and port are used, by default localhost and 8126".to_owned(),
        "capture_timeout_ms" => RUNTIME_DEFAULT.to_owned(),
        _ => format!("the default is used: {}", row.default.replace('`', "")),
    };
    format!("{name}: {shown} is not {expected}; {used}")
}

/// `docs/settings.md`, as it is generated.
pub fn document() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Generated from the table in `core/src/config.rs` by `cargo run -p xtask -- gen`.\n\n\
         Each setting is an argument of the binding's start function (in Node its name is written in camel case, such as \
         `captureTimeoutMs`), or an environment variable. Arguments beat variables, \
         variables beat defaults; an empty variable counts as not set. A value that cannot be used is logged once, with the \
         default that is used instead.\n\n\
         | argument | variable | default | meaning |\n| --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        let variables: Vec<String> = row.variables.iter().map(|name| format!("`{name}`")).collect();
        // Writing into a String cannot fail.
        let later = if row.later { " Read, but of no effect in this version." } else { "" };
        let _ =
            writeln!(page, "| `{}` | {} | {} | {}{later} |", row.option, variables.join(", "), row.default, row.doc);
    }
    page.push_str("\nThese name products that are not available yet; switched on, they are logged and do nothing:\n\n");
    for (variable, product) in NOT_BUILT {
        let _ = writeln!(page, "- `{variable}` ({product})");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Cache, CaptureMode, LogStack, ROWS, Secret, Settings, Show, Spelling, argument};
    use std::path::Path;
    use std::time::Duration;

    fn read(arguments: &[(&str, &str)], environment: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let environment = own(environment);
        let find = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone());
        Settings::resolve(&own(arguments), Spelling::Snake, &find)
    }

    #[test]
    fn what_a_setting_does_not_take_is_refused() {
        let parts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let given = |name, kind, texts: &[&str]| argument(name, kind, &parts(texts), Spelling::Camel);
        assert_eq!(given("redactedTypes", "list", &["A", "B"]).as_deref(), Ok("A,B"));
        assert_eq!(given("redactedTypes", "text", &["A"]).as_deref(), Ok("A"));
        assert_eq!(given("tags", "table", &["a:b", "c:d"]).as_deref(), Ok("a:b,c:d"));
        assert_eq!(given("noSuch", "list", &["A"]).as_deref(), Ok("A"), "it is told as unknown");
        for (name, kind, said) in [
            ("redactedTypes", "table", "the setting 'redactedTypes' takes a text, or a list of texts; got a table"),
            (
                "redactedTypes",
                "a function",
                "the setting 'redactedTypes' takes a text, or a list of texts; got a function",
            ),
            ("cpuBudget", "list", "the setting 'cpuBudget' takes a text, a number, or true or false; got a list"),
            ("tags", "null", "the setting 'tags' takes a text, a list of texts, or a table of them; got null"),
        ] {
            assert_eq!(given(name, kind, &["x"]), Err(said.to_owned()));
        }
    }

    #[test]
    fn remarks_name_options_as_the_host_writes_them() {
        let given = [("captureTimeoutMs", "x"), ("enabled", "no"), ("capture_key", "x"), ("agentlessEnabled", "on")];
        let given = given.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let (settings, log) = Settings::resolve(&given, Spelling::Camel, &|_| None);
        assert!(log[0].starts_with("captureTimeoutMs: 'x' is not"), "{log:?}");
        assert_eq!(log[1], "the option 'capture_key' is unknown and ignored");
        assert_eq!(log[2], "agentlessEnabled is on, but DD_API_KEY is not set; events go to an Agent");
        assert_eq!(settings.off(true, false).as_deref(), Some("it is switched off (enabled)"));
        let (settings, _) = Settings::resolve(&[], Spelling::Camel, &|_| Some("off".to_owned()));
        assert_eq!(settings.off(true, false).as_deref(), Some("it is switched off (STROBE_ENABLED)"));
    }

    #[test]
    fn names_in_camel_case() {
        let name = |option: &str| ROWS.iter().find(|row| row.option == option).map(super::Row::camel_case);
        assert_eq!(name("service").as_deref(), Some("service"));
        assert_eq!(name("capture_timeout_ms").as_deref(), Some("captureTimeoutMs"));
    }

    #[test]
    fn the_stack_of_logs_is_the_hosts_choice_until_somebody_says() {
        let stack = |text: &str| {
            let (settings, lines) = read(&[("log_stack", text)], &[]);
            (settings.log_stack, lines)
        };
        assert_eq!(read(&[], &[]).0.log_stack, None);
        assert_eq!(stack("place"), (Some(LogStack::Place), Vec::new()));
        assert_eq!(stack("ALL"), (Some(LogStack::All), Vec::new()));
        assert_eq!(
            stack("top"),
            (None, vec!["log_stack: 'top' is not all or place; the default is used: all; Node place".to_owned()])
        );
    }

    #[test]
    fn the_cache_is_among_the_users_until_somebody_says() {
        let cache = |arguments: &[(&str, &str)], environment: &[(&str, &str)]| read(arguments, environment).0.cache;
        let default = |path: &str| Cache::Default(Some(Path::new(path).to_owned()));
        let home = ("HOME", "/home/ada");
        assert_eq!(cache(&[], &[]), Cache::Default(None));
        assert_eq!(cache(&[], &[home]), default("/home/ada/.cache/stroboscope"));
        assert_eq!(cache(&[], &[home, ("XDG_CACHE_HOME", "/var/ada")]), default("/var/ada/stroboscope"));
        assert_eq!(cache(&[], &[home, ("XDG_CACHE_HOME", "ada")]), default("/home/ada/.cache/stroboscope"));
        assert_eq!(cache(&[], &[home, ("XDG_CACHE_HOME", "/var/\u{fffd}")]), default("/home/ada/.cache/stroboscope"));
        assert_eq!(cache(&[], &[home, ("STROBE_CACHE", "off")]), Cache::Off);
        assert_eq!(
            cache(&[], &[home, ("STROBE_CACHE", "/srv/kept")]),
            Cache::Folder(Path::new("/srv/kept").to_owned())
        );
        assert_eq!(cache(&[("cache", "")], &[home, ("STROBE_CACHE", "off")]), default("/home/ada/.cache/stroboscope"));
        for relative in ["kept", "./kept", "~/kept"] {
            let (settings, log) = read(&[], &[home, ("STROBE_CACHE", relative)]);
            assert_eq!(settings.cache, default("/home/ada/.cache/stroboscope"));
            let line = format!(
                "STROBE_CACHE: '{relative}' is not off or an absolute path; the default is used: ~/.cache/stroboscope"
            );
            assert_eq!(log, [line]);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ROWS.iter().flat_map(|row| row.variables).copied().collect();
        names.extend(ROWS.iter().map(|row| row.option));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn arguments_beat_the_environment_which_beats_defaults() {
        let variable = ("DD_DYNAMIC_INSTRUMENTATION_CAPTURE_TIMEOUT_MS", "20");
        let timeout = |arguments: &[(&str, &str)], environment: &[(&str, &str)]| {
            let (settings, log) = read(arguments, environment);
            assert!(log.is_empty(), "{log:?}");
            settings.capture_timeout
        };
        assert_eq!(timeout(&[], &[]), None);
        assert_eq!(timeout(&[], &[variable]), Some(Duration::from_millis(20)));
        assert_eq!(timeout(&[("capture_timeout_ms", "30")], &[variable]), Some(Duration::from_millis(30)));
        assert_eq!(read(&[], &[("DD_SERVICE", "")]).0, Settings::default());
        let hidden = ("DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS", "a, b,,c");
        assert_eq!(read(&[], &[hidden]).0.redacted_identifiers, ["a", "b", "c"]);
        assert!(read(&[("redacted_identifiers", "")], &[hidden]).0.redacted_identifiers.is_empty());
    }

    #[test]
    fn a_value_that_cannot_be_used_is_logged_with_what_is_used() {
        for (row, bad) in [
            ("metrics_enabled", "perhaps"),
            ("evaluation_timeout_ms", "-1"),
            ("evaluation_timeout_ms", "1e400"),
            ("evaluation_timeout_ms", "0"),
            ("evaluation_timeout_ms", "soon"),
            ("upload_interval_seconds", "NaN"),
            ("upload_interval_seconds", "inf"),
            ("upload_interval_seconds", "0"),
            ("upload_interval_seconds", "1e-300"),
            ("upload_flush_interval", "-5"),
            ("upload_batch_size", "1001"),
            ("max_payload_size", "1 MiB"),
            ("trace_agent_port", "65536"),
            ("dogstatsd_url", "http://x"),
            ("agent_host", "a b"),
            ("site", ""),
            ("cpu_budget", "101"),
            ("cpu_budget", "NaN"),
            ("terminal", "maybe"),
            ("rate_limits", "some"),
            ("probe_file", "a\0b"),
        ] {
            let (settings, log) = read(&[(row, bad)], &[]);
            assert_eq!(settings, Settings::default(), "{row}");
            assert_eq!(log.len(), 1, "{row}: {log:?}");
            assert!(
                log[0].starts_with(&format!("{row}: ")) && log[0].contains("; the default is used: "),
                "{}",
                log[0]
            );
        }
        let (_, log) = read(&[], &[("DD_DYNAMIC_INSTRUMENTATION_UPLOAD_TIMEOUT", "long")]);
        let line = "DD_DYNAMIC_INSTRUMENTATION_UPLOAD_TIMEOUT: 'long' is not a number of seconds, 0.001 to 2678400; the default is used: 10";
        assert_eq!(log, [line]);
        assert_eq!(read(&[("probes", "x")], &[]).1, ["the option 'probes' is unknown and ignored"]);
        let line = "capture_timeout_ms: 'x' is not a whole number of milliseconds, 1 to 4294967295; the default of this runtime is used";
        assert_eq!(read(&[("capture_timeout_ms", "x")], &[]).1, [line]);
        let line = "DD_CODE_ORIGIN_FOR_SPANS_ENABLED: 'perhaps' is not true or false; the default is used: false";
        assert_eq!(read(&[], &[("DD_CODE_ORIGIN_FOR_SPANS_ENABLED", "perhaps")]).1, [line]);
        assert!(read(&[], &[("DD_CODE_ORIGIN_FOR_SPANS_ENABLED", "0")]).1.is_empty());
        let line = "DD_LIVE_DEBUGGING_ENABLED is on, but this version does not have debug sessions";
        assert_eq!(read(&[], &[("DD_LIVE_DEBUGGING_ENABLED", "on")]).1, [line]);
        let line = "STROBE_RATE_LIMITS: 'none' is not on or off; the default is used: on";
        assert_eq!(read(&[], &[("STROBE_RATE_LIMITS", "none")]).1, [line]);
    }

    #[test]
    fn an_agent_address_that_cannot_be_used_is_as_good_as_the_default() {
        for bad in [
            "localhost:8126",
            "unix://relative",
            "http://",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:0",
            "http://127.0.0.1:",
            "http://:8126",
            "http://exa mple",
            "http://127.0.0.1:8126?x",
            "http://127.0.0.1:8126/?x",
            "ftp://x",
        ] {
            let (settings, log) = read(&[], &[("DD_TRACE_AGENT_URL", bad)]);
            let line = format!(
                "DD_TRACE_AGENT_URL: '{bad}' is not an address such as http://host:port or unix:///path; the Agent's host and \
                 port are used, by default localhost and 8126"
            );
            assert_eq!(log, [line]);
            assert!(settings.agent_is_configured(), "uploads go on, also where only a named Agent gets any");
            assert_eq!(settings.agent_address(&|_| false), "http://localhost:8126");
            let (settings, _) = read(&[], &[("DD_TRACE_AGENT_URL", bad), ("DD_AGENT_HOST", "other")]);
            assert_eq!(settings.agent_address(&|_| true), "http://other:8126");
        }
    }

    #[test]
    fn texts_that_could_stand_nowhere_are_told_by_their_setting() {
        let one_line = "a text of one line, without control characters";
        for (option, text, expected) in [
            ("service", "a\nb", one_line),
            ("env", "a\0", one_line),
            ("version", "1\u{1b}[31m", one_line),
            ("git_repository_url", "https://h/\na", one_line),
            ("entity_id", "a\rb", one_line),
            ("tags", "a:b\0", "a text without control characters"),
            ("redacted_types", "a\u{7f}", "a text without control characters"),
            ("ndjson", "/tmp/a\0", "a path"),
            ("ndjson", "/tmp/\u{fffd}", "UTF-8 text"),
            ("service", "\u{fffd}", "UTF-8 text"),
            ("terminal", "\u{fffd}", "UTF-8 text"),
        ] {
            let (settings, log) = read(&[(option, text)], &[]);
            assert_eq!(settings, Settings::default(), "{option}");
            assert_eq!(log.len(), 1, "{option}: {log:?}");
            assert!(log[0].starts_with(&format!("{option}: ")), "{log:?}");
            assert!(log[0].contains(&format!(" is not {expected}; the default is used")), "{log:?}");
        }
        let (settings, log) = read(&[("tags", "a:b\nc:d"), ("redacted_identifiers", "a,\n b")], &[]);
        assert!(log.is_empty() && settings.tags.len() == 2 && settings.redacted_identifiers == ["a", "b"]);
        let (settings, log) = read(&[("api_key", "hush\nhush"), ("agentless_enabled", "true")], &[]);
        assert!(settings.api_key.is_none() && !settings.agentless_enabled, "events go to an Agent instead");
        assert_eq!(
            log,
            [
                "api_key: its value is not a key: it has characters that cannot stand in one; the default is used: none",
                "agentless_enabled is on, but api_key cannot be used; events go to an Agent",
            ]
        );
    }

    #[test]
    fn a_repository_is_told_without_its_user() {
        let told = |url: &str| read(&[], &[("DD_GIT_REPOSITORY_URL", url)]).0.git_repository_url.unwrap_or_default();
        assert_eq!(told("https://u:p@h/r.git"), "https://h/r.git");
        assert_eq!(told("https://u:p@ss@h:81/a@b/r.git"), "https://h:81/a@b/r.git");
        assert_eq!(told("ssh://git@h"), "ssh://h");
        assert_eq!(told("https://h/r.git"), "https://h/r.git");
        assert_eq!(told("git@h:a/r.git"), "git@h:a/r.git", "a name that everybody has");
    }

    #[test]
    fn secrets_are_never_shown() {
        let (settings, log) = read(&[("api_key", "hush"), ("trace_agent_url", "http://me:hush@host:1")], &[]);
        assert_eq!(settings.api_key, Some(Secret("hush".to_owned())));
        assert_eq!(log.len(), 1);
        assert!(!format!("{settings:?}{log:?}").contains("hush"));
    }

    #[test]
    fn an_interval_has_two_names() {
        let (newer, older) =
            ("DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS", "DD_DYNAMIC_INSTRUMENTATION_UPLOAD_FLUSH_INTERVAL");
        let interval = |arguments: &[(&str, &str)], environment: &[(&str, &str)]| {
            read(arguments, environment).0.upload_interval.as_millis()
        };
        assert_eq!(interval(&[], &[(older, "250")]), 250);
        assert_eq!(interval(&[], &[(older, "2")]), 2000);
        assert_eq!(interval(&[], &[(older, "250"), (newer, "0.5")]), 500);
        assert_eq!(interval(&[("upload_flush_interval", "250")], &[(newer, "0.5")]), 250);
        assert_eq!(interval(&[("upload_interval_seconds", "3")], &[(older, "250")]), 3000);
    }

    #[test]
    fn an_unknown_capture_mode_shows_nothing() {
        for (text, mode, lines) in [
            ("full", CaptureMode::Full, 0),
            ("strict", CaptureMode::Strict, 0),
            ("Strict+Numbers", CaptureMode::StrictNumbers, 0),
            ("stirct", CaptureMode::Strict, 1),
        ] {
            let (settings, log) = read(&[], &[("STROBE_CAPTURE", text)]);
            assert_eq!((settings.capture, log.len()), (mode, lines), "{log:?}");
        }
    }

    #[test]
    fn a_remark_has_the_name_that_was_used() {
        let arguments = [("tags", "lone"), ("capture", "stirct")];
        let begins =
            |log: &[String], names: [&str; 2]| names.iter().all(|name| log.iter().any(|line| line.starts_with(name)));
        assert!(begins(&read(&arguments, &[]).1, ["capture: 'stirct'", "tags: 'lone'"]));
        let variables = [("DD_TAGS", "lone"), ("STROBE_CAPTURE", "stirct")];
        assert!(begins(&read(&[], &variables).1, ["STROBE_CAPTURE: 'stirct'", "DD_TAGS: 'lone'"]));
    }

    #[test]
    fn who_switches_it_on() {
        let off = |environment: &[(&str, &str)], asked, vendor| read(&[], environment).0.off(asked, vendor).is_some();
        let (ours, theirs) = ("STROBE_ENABLED", "DD_DYNAMIC_INSTRUMENTATION_ENABLED");
        assert!(off(&[], false, false));
        assert!(!off(&[], true, false));
        assert!(off(&[], true, true));
        assert!(!off(&[(theirs, "true")], false, false));
        assert!(off(&[(theirs, "true")], false, true));
        assert!(!off(&[(ours, "true")], false, true));
        assert!(off(&[(ours, "false"), (theirs, "true")], true, false));
    }

    #[test]
    fn where_the_agent_is() {
        let at = |environment: &[(&str, &str)], socket: bool| {
            let settings = read(&[], environment).0;
            (settings.agent_address(&|_| socket), settings.agent_is_configured())
        };
        let is = |text: &str, configured| (text.to_owned(), configured);
        assert_eq!(at(&[], false), is("http://localhost:8126", false));
        assert_eq!(at(&[], true), is("unix:///var/run/datadog/apm.socket", false));
        assert_eq!(at(&[("DD_AGENT_HOST", "::1")], true), is("http://[::1]:8126", true));
        assert_eq!(at(&[("DD_TRACE_AGENT_PORT", "1")], true), is("http://localhost:1", true));
        let url = ("DD_TRACE_AGENT_URL", "HTTP://a:2/");
        assert_eq!(at(&[url, ("DD_AGENT_HOST", "b")], true), is("http://a:2/", true));
        let metrics = read(&[], &[("DD_AGENT_HOST", "a")]).0.dogstatsd_address(&|_| true);
        assert_eq!(metrics, "udp://a:8125");
    }

    #[test]
    fn the_rest_is_read() {
        let (settings, log) = read(
            &[("terminal", "Never"), ("rate_limits", "off"), ("ndjson", "-"), ("cpu_budget", "0.5%")],
            &[
                ("DD_TAGS", "team:shop, a:b:c, lone"),
                ("DD_EXCEPTION_REPLAY_ENABLED", "1"),
                ("DD_AGENTLESS_ENABLED", "true"),
            ],
        );
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings.tags, [tag("team", "shop"), tag("a", "b:c"), tag("lone", "")]);
        assert_eq!((settings.terminal, settings.rate_limits, settings.cpu_budget), (Show::Never, false, 0.5));
        assert_eq!(settings.ndjson.as_deref(), Some(Path::new("-")));
        assert!(!settings.agentless_enabled && log.len() == 3, "{log:?}");
        assert!(
            log.contains(&"DD_TAGS: 'lone' has no value and is left out; a tag is key:value".to_owned()),
            "{log:?}"
        );
    }
}
