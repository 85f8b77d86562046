//! stub
pub struct Event {
    pub json: Vec<u8>,
    pub message: String,
    pub site: String,
    pub time: u64,
}
