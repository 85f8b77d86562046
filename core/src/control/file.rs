//! Probes from a file. The beginning of the walk of a configuration going in, where there is no server: `probe/wire.rs`
//! comes next. The file is read once, as the session starts.

use std::fs::File;
use std::io::{ErrorKind as Io, Read as _};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::probe::wire::{self, MAX_FILE, ProbeFile};

/// Reads a probe file. An error is one line for the log that says which file, and what is wrong with it.
pub fn read(path: &Path) -> Result<ProbeFile> {
    let refuse = |why: &str| Error::new(ErrorKind::ProbeFile, format!("probe file {}: {why}", path.display()));
    let bytes = bytes(path).map_err(|why| refuse(&why))?;
    let mut file = wire::read_file(&bytes).map_err(|error| refuse(&error.text))?;
    for line in &mut file.log {
        *line = format!("probe file {}: {line}", path.display());
    }
    Ok(file)
}

/// The file's content, or one byte more than is allowed.
fn bytes(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let because = |error: std::io::Error| match error.kind() {
        Io::NotFound => "there is no such file".to_owned(),
        Io::PermissionDenied => "it may not be read".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    // Asked before it is opened: opening a pipe that nobody writes to would wait for ever.
    let kind = std::fs::metadata(path).map_err(because)?;
    if kind.is_dir() {
        return Err("it is a folder; name a file in it".to_owned());
    }
    if !kind.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(because)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::probe::wire::MAX_FILE;
    use std::path::PathBuf;

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tmp/probe-files"));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn each_fault_is_one_line_that_names_the_file() {
        let large = [b"[".as_slice(), &vec![b' '; MAX_FILE + 1024 * 1024], b"]"].concat();
        for (path, why) in [
            (file("empty.json", b""), "it is empty"),
            (file("text.json", b"probes"), "it is not JSON: "),
            (file("number.json", b"7"), "it holds a number, not an array of probes"),
            (file("large.json", &large), "it is larger than 5 MiB"),
            (file("latin1.json", b"[\"\xE9\"]"), "it is not UTF-8 text (byte 2)"),
            (std::env::temp_dir(), "it is a folder; name a file in it"),
            (PathBuf::from("/dev/zero"), "it is not a file"),
            (PathBuf::from("/no/such/file.json"), "there is no such file"),
        ] {
            let text = read(&path).unwrap_err().text;
            assert!(text.starts_with(&format!("probe file {}: {why}", path.display())), "{text}");
            assert!(!text.contains('\n'));
        }
    }

    #[test]
    fn a_good_element_survives_its_bad_neighbours() {
        let content = b"\xEF\xBB\xBF[{\"id\":\"a\",\"type\":\"LOG_PROBE\"},[],{\"id\":\"b\",\"type\":3}]";
        let path = file("mixed.json", content);
        let read = read(&path).unwrap();
        assert_eq!(read.probes.len(), 2);
        assert!(read.probes[0].is_ok() && read.probes[1].as_ref().unwrap_err().text.contains("'type'"));
        let line = format!(
            "probe file {}: element 1 is ignored: a definition must be an object, not an array",
            path.display()
        );
        assert_eq!(read.log, [line]);
    }

    #[test]
    fn a_file_without_probes_is_remarked_on() {
        let path = file("none.json", b"[]");
        let read = read(&path).unwrap();
        assert!(read.probes.is_empty());
        assert_eq!(read.log, [format!("probe file {}: it holds no probes", path.display())]);
    }

    #[test]
    fn of_two_elements_with_one_id_the_used_one_is_named() {
        let element = |version: i64| format!(r#"{{"id":"a","type":"LOG_PROBE","version":{version}}}"#);
        let said = |versions: [i64; 3], name: &str| {
            let content = versions.map(element).join(",");
            read(&file(name, format!("[{content}]").as_bytes())).unwrap().log.join("\n")
        };
        let log = said([0, 0, 1], "twice.json");
        assert!(log.contains("element 1 (version 0) is used, element 0 is not"), "{log}");
        assert!(log.contains("element 2 (version 1) is used, element 1 is not"), "{log}");
        let log = said([3, 2, 1], "falling.json");
        assert!(log.contains("element 0 (version 3) is used, element 2 is not"), "{log}");
    }

    #[test]
    fn a_single_object_stands_for_an_array() {
        let path = file("single.json", br#" {"id":"a","type":"SPAN_PROBE"}"#);
        assert_eq!(read(&path).unwrap().probes.len(), 1);
    }
}
