//! Reads `[responses]`.

use super::file::Responses;
use super::reader::{Table, fields};

pub(super) fn read(mut t: Table<'_>) -> Responses {
    let mut responses = Responses::default();
    fields!(t => responses, flag: done_event);
    t.finish();
    responses
}
