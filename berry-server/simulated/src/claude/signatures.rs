//! Signatures of thinking blocks, which newer models bind to the account and to the conversation before the block.

use super::turn::blocks;
use crate::base64;
use crate::check::Problem;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Signs thoughts for the account, after the system prompt, the tools and the messages of a request.
pub(super) fn sign(account: u64, body: &Value, thoughts: &str) -> String {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    signature(account, prefix(body, messages), thoughts)
}

/// Returns the part of a signature that does not depend on the conversation: a multiple of three bytes, so that its
/// encoding does not depend on what follows.
fn beginning(account: u64, thoughts: &str) -> String {
    base64::encode(format!("signed: {account:016x} {:016x} ", hash(thoughts)).as_bytes())
}

fn signature(account: u64, prefix: u64, thoughts: &str) -> String {
    format!("{}{}", beginning(account, thoughts), base64::encode(format!("{prefix:016x}").as_bytes()))
}

/// Checks the signatures of all turns.
pub(super) fn check(body: &Value, account: u64) -> Result<(), Problem> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, message) in messages.iter().enumerate() {
        for (at, block) in blocks(message).iter().enumerate().filter(|(_, block)| block["type"] == "thinking") {
            let thoughts = block["thinking"].as_str().unwrap_or_default();
            let given = block["signature"].as_str().unwrap_or_default();
            if given == signature(account, prefix(body, &messages[..index]), thoughts) {
                continue;
            }
            let why = match given.starts_with(&beginning(account, thoughts)) {
                true => {
                    "Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the \
                     block, or set `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\"."
                }
                false => "Invalid `signature` in `thinking` block",
            };
            return Err(Problem::rule(&format!("messages.{index}.content.{at}"), why));
        }
    }
    Ok(())
}

/// Returns a number for what comes before a turn. Marks of the cache do not count.
fn prefix(body: &Value, messages: &[Value]) -> u64 {
    let mut all = json!([body["system"], body["tools"], messages]);
    normalize(&mut all);
    hash(&all.to_string())
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Removes the marks of the cache, and writes a text as one block.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            if let Some(content) = fields.get_mut("content").filter(|content| content.is_string()) {
                *content = json!([{"type": "text", "text": content.take()}]);
            }
            fields.values_mut().for_each(normalize);
        }
        Value::Array(all) => all.iter_mut().for_each(normalize),
        _ => {}
    }
}
