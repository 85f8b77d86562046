//! Evaluation over [`crate::host::Value`].

use crate::host::Value;
use crate::text::Text;
use num_bigint::BigInt;

/// What an expression yields: a value of the host, borrowed for the hit, or one that the expression made.
#[derive(Clone, Debug)]
pub enum Operand<'f, V> {
    /// A value of the host.
    Host(V),
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A larger integer.
    Big(Box<BigInt>),
    /// A double.
    Float(f64),
    /// A literal, or a part of a host's text.
    Text(Text<'f>),
    /// What `filter` kept of a list or of bytes.
    List(Vec<Operand<'f, V>>),
    /// What `filter` kept of a set.
    Set(Vec<V>),
    /// What `filter` kept of a map.
    Map(Vec<(V, V)>),
}

/// What an expression can see.
pub struct Scope<'a, F, V> {
    /// The place of the hit.
    pub frame: &'a F,
    /// `@return`.
    pub returned: Option<V>,
    /// `@exception`.
    pub exception: Option<V>,
    /// `@duration`, milliseconds.
    pub duration: Option<f64>,
}

/// Marker so that the stub names its bound; replaced with the evaluator.
pub trait HostValue<'f>: Value<'f> {}
