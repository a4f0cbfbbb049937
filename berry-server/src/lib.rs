//! The Berry server: the configuration, the routes and the parts around `berry-tower`.

pub mod simulated;
