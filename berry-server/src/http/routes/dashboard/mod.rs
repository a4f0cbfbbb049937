//! The dashboard: a page that holds no data, and the data that it asks for.

mod data;
mod page;

pub(super) use data::data;
pub(super) use page::routes;
