//! Guides across the layers.

#[doc = include_str!("../docs/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("../docs/order.md")]
pub mod order {}
