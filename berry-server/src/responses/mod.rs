//! Stored responses: what `GET /v1/responses/{id}` and `previous_response_id` find, whichever backend made them.

mod capture;
mod conversation;
mod layer;
mod records;

pub(crate) use self::{layer::StoreLayer, records::Responses};
