//! The seal of reasoning, which only its account can use.

use crate::base64;

/// The beginning of every `encrypted_content`.
const SEALED: &str = "gAAA";

/// Returns the beginning of the `encrypted_content` of an account.
pub(super) fn seal(account: u64) -> String {
    // A multiple of three bytes, so that its encoding does not depend on the text after it.
    format!("{SEALED}{}", base64::encode(format!("{account:016x}::").as_bytes()))
}
