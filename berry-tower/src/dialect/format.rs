//! The wire formats as one table: each row is an implementation of [`WireFormat`].

use super::{
    chat::Chat,
    gemini::Gemini,
    messages::Messages,
    responses::Responses,
    target::Dialect,
    wire_format::{CallerFormat, WireFormat},
};
use crate::endpoint::Endpoint;

impl Dialect {
    /// Returns the format's row in the table.
    pub(crate) const fn format(self) -> &'static dyn WireFormat {
        match self {
            Self::OpenAi => &Chat,
            Self::Claude => &Messages,
            Self::Gemini => &Gemini,
            Self::Responses => &Responses,
        }
    }
}

/// Returns the format in which callers use an endpoint; `None` if its requests cannot be translated.
pub(super) fn caller_format(endpoint: Endpoint) -> Option<&'static dyn CallerFormat> {
    Dialect::ALL.into_iter().filter_map(|dialect| dialect.format().caller()).find(|it| it.endpoint() == endpoint)
}
