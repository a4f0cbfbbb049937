//! The translators: streams say what plain answers say, and what is sent is what may be sent.

mod claude_streams;
mod fold;
mod wire;
