//! Reads JSON without building a tree.

pub(crate) mod escaped;
#[cfg(feature = "sse")]
mod malformed;
pub(crate) mod number;
#[cfg(feature = "sse")]
mod object_check;
pub(crate) mod plain;
#[cfg(feature = "sse")]
mod shape;
#[cfg(all(test, feature = "sse"))]
mod tests;
#[cfg(feature = "sse")]
mod text;
#[cfg(feature = "sse")]
mod tokenizer;
#[cfg(feature = "client")]
mod values;

#[cfg(feature = "sse")]
pub(crate) use {
    object_check::ObjectCheck,
    text::KEEP,
    tokenizer::{Tokenizer, Visit, Word},
};
#[cfg(feature = "client")]
pub(crate) use {
    object_check::PlainFacts,
    shape::{Presence, Shape},
    values::count_values,
};
