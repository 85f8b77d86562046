//! Symbols as the Agent takes them: a form with an event and a packed file. On neither walk; before it `emit/symbols.rs`, after it
//! `sender.rs`.

use serde::Serialize;

/// The endpoint of symbols.
pub const PATH: &str = "/symdb/v1/input";

/// The content type of the form. The event is JSON and the file packed JSON, in both of which line ends are escaped, so that
/// no line of them can be the boundary.
pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=stroboscope-3f0b6d1e8c5a4720";

const BOUNDARY: &str = "stroboscope-3f0b6d1e8c5a4720";

/// What the event says of its file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// `dd_debugger`.
    pub ddsource: &'a str,
    /// The service.
    pub service: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The language.
    pub language: &'a str,
    /// A UUID of this process.
    pub runtime_id: &'a str,
    /// That of the process that it was forked from.
    pub parent_id: Option<&'a str>,
    /// `symdb`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// A UUID of the upload.
    pub upload_id: &'a str,
    /// The number of the batch in it, from 1.
    pub batch_num: u32,
    /// True for the last; as modules may always be loaded, there is none.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Bytes of the file.
    pub attachment_size: usize,
}

/// The whole form.
pub fn form(event: &Event<'_>, pid: u32, file: &[u8]) -> Vec<u8> {
    // Texts and numbers only: writing them into memory cannot fail.
    let event = serde_json::to_vec(event).unwrap_or_default();
    let mut form = Vec::with_capacity(event.len() + file.len() + 512);
    let mut part = |name: &str, file_name: &str, kind: &str, content: &[u8]| {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
             Content-Type: {kind}\r\n\r\n"
        );
        for piece in [head.as_bytes(), content, b"\r\n"] {
            form.extend_from_slice(piece);
        }
    };
    part("event", "event.json", "application/json", &event);
    part("file", &format!("symbols_{pid}.json.gz"), "application/gzip", file);
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_has_the_shape_of_the_specification() {
        let event = Event {
            ddsource: "dd_debugger",
            service: "shop",
            version: "",
            language: "python",
            runtime_id: "r",
            parent_id: None,
            kind: "symdb",
            upload_id: "u",
            batch_num: 2,
            is_final: false,
            attachment_size: 3,
        };
        let expected = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"event\"; filename=\"event.json\"\r\n\
             Content-Type: application/json\r\n\r\n\
             {{\"ddsource\":\"dd_debugger\",\"service\":\"shop\",\"version\":\"\",\"language\":\"python\",\"runtimeId\":\"r\",\
             \"parentId\":null,\"type\":\"symdb\",\"uploadId\":\"u\",\"batchNum\":2,\"final\":false,\"attachmentSize\":3}}\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"symbols_7.json.gz\"\r\n\
             Content-Type: application/gzip\r\n\r\nxyz\r\n--{BOUNDARY}--\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&form(&event, 7, b"xyz")), expected);
        assert_eq!(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
    }
}
