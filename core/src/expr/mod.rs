//! The expression language: one flat tree, its two written forms, its checks and its evaluation.

pub mod check;
pub mod decode;
pub mod eval;
pub mod print;
pub mod target;
pub mod template;
pub mod text;
pub mod tree;

/// A compiled expression of a probe.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The text shown to people and sent as `evaluationErrors[].expr`: the `dsl`, or the printed form.
    pub text: String,
    /// The checked tree; its symbols are numbered in the probe's list.
    pub tree: tree::Tree,
}
