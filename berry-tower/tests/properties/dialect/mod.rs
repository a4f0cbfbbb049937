//! The translators: streams say what plain answers say, and what is sent may be sent.

mod claude_fixtures;
mod claude_requests;
mod claude_rules;
mod claude_streams;
mod fold;
mod hub;
mod wire;
