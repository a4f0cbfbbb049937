//! Writes protobuf messages into a buffer.
//!
//! The types that are generated from OTLP's definitions own every string, keys included; filling them for one request
//! costs some sixty allocations. Here values are written where they go.

/// A message that is being written at the end of a buffer.
pub(super) struct Message<'a>(&'a mut Vec<u8>);

/// How a field is encoded.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl<'a> Message<'a> {
    pub(super) const fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    fn tag(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field << 3 | wire as u32));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "the lower seven bits")]
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
        self.0.push(value as u8);
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        self.tag(field, Wire::Varint);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, Wire::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, Wire::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, Wire::Bytes);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn string(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// Writes a list of numbers of 8 bytes each.
    pub(super) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        self.message(field, |list| values.for_each(|value| list.0.extend_from_slice(&value.to_le_bytes())));
    }

    /// Writes an inner message. Its length stands before it and is known only after it.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(field, Wire::Bytes);
        let start = self.0.len();
        // Most messages are shorter than 128 bytes, whose length takes one byte.
        self.0.push(0);
        write(&mut Message(self.0));
        let length = self.0.len() - start - 1;
        let mut prefix = Vec::new();
        if length < 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
            {
                self.0[start] = length as u8;
            }
        } else {
            Message(&mut prefix).varint(length as u64);
            self.0.splice(start..=start, prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_examples_of_the_encoding_guide() {
        let write = |write: &dyn Fn(&mut Message<'_>)| {
            let mut buffer = Vec::new();
            write(&mut Message::new(&mut buffer));
            buffer
        };
        assert_eq!(write(&|m| m.uint(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(write(&|m| m.string(2, "testing")), b"\x12\x07testing");
        assert_eq!(write(&|m| m.message(3, |m| m.uint(1, 150))), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn long_messages_have_long_lengths() {
        let mut buffer = Vec::new();
        Message::new(&mut buffer).message(1, |outer| outer.message(1, |inner| inner.string(1, &"x".repeat(300))));
        let inner = 1 + 2 + 300;
        assert_eq!(buffer[..3], [0x0a, 0xb2, 0x02], "{inner} and its own tag and length");
        assert_eq!(buffer.len(), 3 + 3 + inner);
    }
}
