//! Writes OTLP attributes, which resources, spans and metrics have alike.

use super::protobuf::Message;

/// Writes attributes into a message, under the field of this number.
pub(super) struct Attributes<'m, 'b>(pub(super) &'m mut Message<'b>, pub(super) u32);

impl Attributes<'_, '_> {
    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.put(key, |any| any.string(1, value));
    }

    pub(super) fn bool(&mut self, key: &str, value: bool) {
        self.put(key, |any| any.uint(2, value.into()));
    }

    pub(super) fn int(&mut self, key: &str, value: i64) {
        self.put(key, |any| any.uint(3, value.cast_unsigned()));
    }

    pub(super) fn double(&mut self, key: &str, value: f64) {
        self.put(key, |any| any.double(4, value));
    }

    fn put(&mut self, key: &str, value: impl FnOnce(&mut Message<'_>)) {
        self.0.message(self.1, |pair| {
            pair.string(1, key);
            pair.message(2, value);
        });
    }
}
