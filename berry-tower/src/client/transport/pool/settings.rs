//! The peer's first SETTINGS frame (RFC 9113, section 6.5).

/// The length of a frame's head.
const HEAD: usize = 9;
/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;
/// The identifier of `SETTINGS_MAX_CONCURRENT_STREAMS`.
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// The longest frame that is read; larger ones are no SETTINGS of any server.
const MAX_LENGTH: usize = 16 * 1024;

/// Reads the limit on concurrent streams from the first bytes that an HTTP/2 server sends.
#[derive(Debug, Default)]
pub(super) struct SettingsReader {
    buffer: Vec<u8>,
}

impl SettingsReader {
    /// Takes further bytes. Returns the limit once the frame is complete: `u32::MAX` where the
    /// server names none, and where what it sent is no SETTINGS frame, which hyper reports.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<u32> {
        let missing = (HEAD + MAX_LENGTH).saturating_sub(self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        let (head, payload) = self.buffer.split_at_checked(HEAD)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] != SETTINGS || length > MAX_LENGTH {
            return Some(u32::MAX);
        }
        let payload = payload.get(..length)?;
        let mut entries = payload.chunks_exact(6).map(|entry| {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            (id, u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
        });
        // The last value counts.
        let limit = entries.rfind(|(id, _)| *id == MAX_CONCURRENT_STREAMS);
        Some(limit.map_or(u32::MAX, |(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, entries: &[(u16, u32)]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(entries.len() * 6).unwrap(), kind, 0, 0, 0, 0, 0];
        for (id, value) in entries {
            frame.extend(id.to_be_bytes());
            frame.extend(value.to_be_bytes());
        }
        frame
    }

    #[test]
    fn reads_the_limit_however_the_frame_is_cut() {
        let bytes = frame(SETTINGS, &[(1, 4096), (MAX_CONCURRENT_STREAMS, 7), (4, 65_535)]);
        for cut in 0..bytes.len() {
            let mut reader = SettingsReader::default();
            assert_eq!(reader.push(&bytes[..cut]), None, "{cut}");
            assert_eq!(reader.push(&bytes[cut..]), Some(7), "{cut}");
        }
    }

    #[test]
    fn has_no_limit_where_the_server_names_none() {
        for bytes in [frame(SETTINGS, &[]), frame(SETTINGS, &[(1, 4096)]), frame(6, &[(3, 1), (3, 1)])] {
            assert_eq!(SettingsReader::default().push(&bytes), Some(u32::MAX));
        }
        assert_eq!(SettingsReader::default().push(b"HTTP/1.1 400 Bad Request\r\n"), Some(u32::MAX));
    }
}
