//! The backend that continues a response.

use std::{fmt, sync::OnceLock};

use crate::attempt::BackendId;

/// The backend that provides the rest of a response whose head named another one, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Continuation {
    /// The backend.
    pub backend: BackendId,
    /// 0 for the model that the request names, k for its k-th fallback.
    pub fallback_index: u32,
}

/// The last of a few values, readable without a lock. Earlier values are kept until all are dropped.
#[derive(Default)]
pub(super) struct Latest(OnceLock<Box<(Continuation, Self)>>);

impl Latest {
    pub(super) fn get(&self) -> Option<&Continuation> {
        let (mut value, mut rest) = self.0.get().map(|node| (&node.0, &node.1))?;
        while let Some(node) = rest.0.get() {
            (value, rest) = (&node.0, &node.1);
        }
        Some(value)
    }

    pub(super) fn set(&self, value: Continuation) {
        let mut end = self;
        let mut node = Box::new((value, Self::default()));
        loop {
            match end.0.set(node) {
                Ok(()) => return,
                Err(back) => node = back,
            }
            match end.0.get() {
                Some(next) => end = &next.1,
                // A cell that refuses a value has one.
                None => return,
            }
        }
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}
