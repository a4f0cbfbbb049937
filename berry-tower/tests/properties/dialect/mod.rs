//! The translators: streams say what plain answers say, and what is sent may be sent.

mod claude_fixtures;
mod claude_requests;
mod claude_rules;
mod claude_streams;
mod fixtures;
mod fold;
mod foreign;
mod gemini_requests;
mod gemini_streams;
mod hub;
mod lenient;
mod messages_answers;
mod messages_requests;
mod wire;
