//! Thought signatures: what an account signs, and what it accepts in later turns, by the rules of the newer models.

use super::turn::parts;
use crate::base64;
use crate::refusal::Refusal;
use serde_json::Value;

/// Signatures that the provider documents for calls of other models.
const PLACEHOLDERS: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// Returns the beginning of an account's signatures: a multiple of three bytes, so that its encoding does not depend on
/// what follows.
fn beginning(account: u64) -> String {
    base64::encode(format!("signed {account:016x} ").as_bytes())
}

/// Returns the signature of the response with this seed.
pub(super) fn sign(account: u64, seed: u64) -> String {
    format!("{}{}", beginning(account), base64::encode(format!("{seed:016x}").as_bytes()))
}

/// Checks that all signatures are the account's own, and, where the model is to think, that in the current turn each
/// step's first call has one.
pub(super) fn check(body: &Value, account: u64) -> Result<(), Refusal> {
    let own = beginning(account);
    let is_valid = |signature: &str| signature.starts_with(&own) || PLACEHOLDERS.contains(&signature);
    let contents = body["contents"].as_array().map_or(&[][..], Vec::as_slice);
    let mut signatures = contents.iter().flat_map(parts).filter_map(|part| part["thoughtSignature"].as_str());
    if signatures.any(|signature| !is_valid(signature)) {
        return Err(Refusal::invalid("Corrupted thought signature."));
    }
    if body["generationConfig"]["thinkingConfig"].is_null() {
        return Ok(());
    }
    let says =
        |content: &Value| content["role"] != "model" && parts(content).iter().any(|part| part["text"].is_string());
    let turn = contents.iter().rposition(says).unwrap_or_default();
    for (index, content) in contents.iter().enumerate().skip(turn) {
        let first = parts(content).iter().find(|part| part.get("functionCall").is_some());
        if let Some(call) = first.filter(|part| part["thoughtSignature"].as_str().is_none_or(str::is_empty)) {
            let name = call["functionCall"]["name"].as_str().unwrap_or_default();
            return Err(Refusal::invalid(format!(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
                 correctly, and missing thought_signature may lead to degraded model performance. Additional data, \
                 function call `default_api:{name}` , position {}. Please refer to \
                 https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                index + 1
            )));
        }
    }
    Ok(())
}
