//! The parts that all exports begin with: who sends them.

use super::{attributes::Attributes, conventions as names, protobuf::Message};
use crate::config::Telemetry;

/// Writes the `Resource`, under field 1.
pub(super) fn write(message: &mut Message<'_>, telemetry: &Telemetry, instance: &str) {
    message.message(1, |resource| {
        let mut attributes = Attributes(resource, 1);
        attributes.string(names::SERVICE_NAME, &telemetry.service_name);
        attributes.string(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        attributes.string(names::SERVICE_INSTANCE_ID, instance);
        for (name, value) in &telemetry.resource_attributes {
            attributes.string(name, value);
        }
    });
}

/// Writes the `InstrumentationScope`, under field 1.
pub(super) fn write_scope(message: &mut Message<'_>) {
    message.message(1, |scope| {
        scope.string(1, env!("CARGO_PKG_NAME"));
        scope.string(2, env!("CARGO_PKG_VERSION"));
    });
}
