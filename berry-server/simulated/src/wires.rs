//! The implementation of each wire format.

use super::azure::Azure;
use super::claude::Claude;
use super::dialect::Dialect;
use super::gemini::Gemini;
use super::openai::OpenAi;
use super::wire::Wire;

impl Dialect {
    pub(super) fn wire(self) -> &'static dyn Wire {
        match self {
            Self::OpenAi => &OpenAi,
            Self::Azure => &Azure,
            Self::Claude => &Claude,
            Self::Gemini => &Gemini,
        }
    }
}
