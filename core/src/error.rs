//! What can go wrong outside a hit: a flat list of kinds, each with a stable code, and the sentence for the person who
//! reads it. Failures inside an expression are outcomes, not errors: see [`crate::expr::eval::Failure`].

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A probe definition has a wrong or missing field.
    InvalidDefinition,
    /// An expression or template does not compile.
    InvalidExpression,
    /// A probe kind that is not built.
    Unsupported,
    /// A probe file cannot be used.
    ProbeFile,
    /// A setting cannot be used.
    Setting,
    /// The network or the Agent failed.
    Upload,
    /// A record that the core did not write.
    BadRecord,
    /// Something of ours failed.
    Internal,
}

impl ErrorKind {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidDefinition => "InvalidDefinition",
            ErrorKind::InvalidExpression => "InvalidExpression",
            ErrorKind::Unsupported => "Unsupported",
            ErrorKind::ProbeFile => "ProbeFile",
            ErrorKind::Setting => "Setting",
            ErrorKind::Upload => "Upload",
            ErrorKind::BadRecord => "BadRecord",
            ErrorKind::Internal => "Internal",
        }
    }
}

/// An error with a sentence that says what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What kind it is.
    pub kind: ErrorKind,
    /// The sentence.
    pub text: String,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into() }
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
