//! Statuses as the Agent takes them: a form with one part. On both walks: what became of a configuration, and of its
//! first hit. Before it `emit/batch.rs`, after it `http.rs`.

/// The endpoint of statuses.
pub const PATH: &str = "/debugger/v1/diagnostics";

/// The content type of a form. Its part is JSON, in which line ends are escaped, so no line of it can be the boundary.
pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=stroboscope-7c1f0a4be2d94b1f";

/// What stands before the array of statuses.
pub const BEFORE: &str = "--stroboscope-7c1f0a4be2d94b1f\r\n\
    Content-Disposition: form-data; name=\"event\"; filename=\"event.json\"\r\n\
    Content-Type: application/json\r\n\r\n";

/// What stands after it.
pub const AFTER: &str = "\r\n--stroboscope-7c1f0a4be2d94b1f--\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDARY: &str = "stroboscope-7c1f0a4be2d94b1f";

    #[test]
    fn the_form_has_the_shape_of_the_specification() {
        let form = format!("{BEFORE}[{{}}]{AFTER}");
        let expected = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"event\"; filename=\"event.json\"\r\n\
             Content-Type: application/json\r\n\r\n[{{}}]\r\n--{BOUNDARY}--\r\n"
        );
        assert_eq!(form, expected);
        assert_eq!(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
    }
}
