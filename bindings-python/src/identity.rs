//! Who this process is: service, host, runtime id, and what was started in it. Before both walks; [`crate::session`] asks.

use pyo3::prelude::*;
use stroboscope_core::config::Settings;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::process::{self, last_part, stem};

/// Finds out who this process is. `parent` is the runtime id of the process that it was forked from.
pub fn find(py: Python<'_>, settings: &Settings, parent: Option<String>) -> PyResult<Identity> {
    let os = py.import("os")?;
    let hostname: String = os.call_method0("uname")?.getattr("nodename")?.extract()?;
    let runtime_id = match vendor_runtime_id(py) {
        Some(id) => id,
        None => random_id(&os.call_method1("urandom", (16,))?.extract::<Vec<u8>>()?),
    };
    let entry = Entry::find(py).unwrap_or_default();
    let inferred = if entry.name.is_empty() { "python" } else { &entry.name };
    let service = settings.service.clone().unwrap_or_else(|| inferred.to_owned());
    // A folder that is gone has no name, and no tag.
    let workdir: String = os.call_method0("getcwd").and_then(|folder| folder.extract()).unwrap_or_default();
    let tags = [
        ("entrypoint.basedir", entry.folder.as_str()),
        ("entrypoint.name", &entry.name),
        ("entrypoint.type", entry.kind),
        ("entrypoint.workdir", last_part(&workdir)),
    ];
    let process_tags = process::of(settings, inferred, tags);
    Ok(Identity { service, hostname, runtime_id, pid: std::process::id(), parent_id: parent, process_tags })
}

/// What Python was told to run.
#[derive(Debug, Default, PartialEq)]
struct Entry {
    name: String,
    folder: String,
    kind: &'static str,
}

impl Entry {
    fn find(py: Python<'_>) -> PyResult<Entry> {
        let sys = py.import("sys")?;
        let argv: Vec<String> = sys.getattr("argv")?.extract()?;
        let original: Vec<String> = sys.getattr("orig_argv")?.extract()?;
        let module = sys.getattr("modules")?.get_item("__main__").and_then(|main| {
            let spec = main.getattr("__spec__")?;
            if spec.is_none() { Ok(None) } else { spec.getattr("name")?.extract::<Option<String>>() }
        });
        Ok(Entry::read(&argv, &original, module.ok().flatten()))
    }

    /// `module` is known once a `-m` has found it; before, `argv` begins with the bare `-m`.
    fn read(argv: &[String], original: &[String], module: Option<String>) -> Entry {
        let first = argv.first().map(String::as_str).unwrap_or_default();
        if first == "-m" {
            let at = original.len().saturating_sub(argv.len());
            let name = original.get(at).map(|word| word.strip_prefix("-m").unwrap_or(word)).unwrap_or_default();
            return Entry { name: name.to_owned(), folder: String::new(), kind: "module" };
        }
        if let Some(module) = module {
            let name = module.strip_suffix(".__main__").unwrap_or(&module).to_owned();
            return Entry { name, folder: last_part(process::folder(first)).to_owned(), kind: "module" };
        }
        if first.is_empty() || first == "-c" || first == "-" {
            return Entry { kind: "script", ..Entry::default() };
        }
        Entry { name: stem(first).to_owned(), folder: last_part(process::folder(first)).to_owned(), kind: "script" }
    }
}

/// A UUID of version 4.
fn random_id(random: &[u8]) -> String {
    let bits = random.iter().fold(0u128, |bits, &byte| (bits << 8) | u128::from(byte));
    let bits = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The id that the vendor's tracer has given this process: one process has one id.
fn vendor_runtime_id(py: Python<'_>) -> Option<String> {
    let module = loaded(py, "ddtrace.internal.runtime")?;
    module.call_method0("get_runtime_id").and_then(|id| id.extract()).ok()
}

/// True if the vendor's own debugger runs in this process.
pub fn vendor_debugger_runs(py: Python<'_>) -> bool {
    let instance = loaded(py, "ddtrace.debugging._debugger")
        .and_then(|module| module.getattr("Debugger").and_then(|class| class.getattr("_instance")).ok());
    instance.is_some_and(|instance| !instance.is_none())
}

/// A module that the program has imported. Nothing is imported for it.
pub fn loaded<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let modules = py.import("sys").and_then(|sys| sys.getattr("modules")).ok()?;
    modules.get_item(name).ok().filter(|module| !module.is_none())
}
