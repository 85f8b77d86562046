//! stub
use crate::emit::event::Event;
use crate::emit::output::Identity;
use crate::host::*;
use crate::record::names::Tables;
use crate::registry::LiveProbe;
pub struct RenderContext<'a> {
    pub identity: &'a Identity,
    pub language: Language,
    pub tables: &'a Tables,
    pub live: &'a LiveProbe,
    pub describe_frame: &'a dyn Fn(StackFrame) -> FrameText,
    pub evaluation_ms: u64,
}
pub fn render(_r: &[u8], _c: &RenderContext<'_>) -> crate::error::Result<Event> {
    Err(crate::error::Error::new(crate::error::ErrorKind::Internal, ""))
}
