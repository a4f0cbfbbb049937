//! What every layer must hold to: auto traits, readiness that is asked for, passed through and not
//! held, and nothing kept by a future or a body that was dropped.

mod edge;
mod support;
