//! Decodes compressed bodies.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::{coding::Coding, error::CollectError, lease::Lease};

/// How much is decoded at once.
const CHUNK: usize = 64 << 10;
/// The least window that a zstd decoder must support (RFC 9659), and the most that others may ask for.
const ZSTD_WINDOW: u64 = 8 << 20;

/// Decodes a whole body to at most `max` bytes, which count against `lease`.
pub(super) fn decode(coding: Coding, body: &Bytes, max: usize, lease: &mut Lease) -> Result<Bytes, CollectError> {
    let mut decoded = Decoded { bytes: Vec::new(), max, lease };
    match coding {
        Coding::Gzip => decoded.read(MultiGzDecoder::new(&body[..]))?,
        Coding::Deflate if is_zlib(body) => decoded.read(ZlibDecoder::new(&body[..]))?,
        // Some clients leave the zlib header out.
        Coding::Deflate => decoded.read(DeflateDecoder::new(&body[..]))?,
        Coding::Brotli => decoded.read(brotli_decompressor::Decompressor::new(&body[..], CHUNK))?,
        Coding::Zstd => {
            let mut rest = &body[..];
            while !rest.is_empty() {
                // The decoder buffers a window before it returns anything.
                if zstd_window(rest).is_none_or(|window| window > ZSTD_WINDOW.max(max as u64)) {
                    return Err(CollectError::Undecodable);
                }
                let frame = ruzstd::decoding::StreamingDecoder::new(&mut rest);
                decoded.read(frame.map_err(|_| CollectError::Undecodable)?)?;
            }
        }
    }
    Ok(decoded.bytes.into())
}

struct Decoded<'a> {
    bytes: Vec<u8>,
    max: usize,
    lease: &'a mut Lease,
}

impl Decoded<'_> {
    fn read(&mut self, mut decoder: impl Read) -> Result<(), CollectError> {
        let mut chunk = vec![0; CHUNK];
        loop {
            match decoder.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) if self.max - self.bytes.len() < read => return Err(CollectError::TooLarge(self.max)),
                Ok(read) => {
                    self.lease.try_grow(read)?;
                    self.bytes.extend_from_slice(&chunk[..read]);
                }
                Err(_) => return Err(CollectError::Undecodable),
            }
        }
    }
}

/// Whether a `deflate` body starts with a zlib header (RFC 1950), as it should.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flags, ..] if cmf & 15 == 8 && u16::from_be_bytes([*cmf, *flags]) % 31 == 0)
}

/// Returns the size of the window that a frame asks for (RFC 8878, 3.1.1.1).
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let (descriptor, rest) = frame.strip_prefix(b"\x28\xb5\x2f\xfd")?.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single segment: the window is the whole content.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (length, offset) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let mut content = [0; 8];
    content[..length].copy_from_slice(rest.get(dictionary..dictionary + length)?);
    u64::from_le_bytes(content).checked_add(offset)
}
