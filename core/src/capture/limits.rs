//! How much of a value is captured (*Signals and upload* 2.3).

/// Capture limits of one probe or one capture expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of containers and objects that are opened.
    pub depth: u32,
    /// Elements or entries of a container.
    pub elements: u32,
    /// Units of a string or bytes.
    pub length: u32,
    /// Fields of an object.
    pub fields: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 3, elements: 100, length: 255, fields: 20 }
    }
}

/// The limits under which the values of a message are recorded, whatever the probe says (1.5). A string at the top may
/// have [`MESSAGE_LENGTH`] code points.
pub const MESSAGE: Limits = Limits { depth: 1, elements: 3, length: 255, fields: 5 };

/// Code points of a whole message, and of a string that stands alone in it.
pub const MESSAGE_LENGTH: usize = 8192;

/// Names of one section.
pub const SECTION_NAMES: usize = 200;

/// Frames of a stack.
pub const STACK_FRAMES: usize = 128;

/// Bytes shown of a byte string in a message.
pub const MESSAGE_BYTES: usize = 64;

/// Units of the message of a point's exception.
pub const THROWABLE_LENGTH: u32 = 2048;

/// Bytes of the text of a well-known scalar, a function's or enum member's name.
pub const LABEL_BYTES: usize = 4096;
