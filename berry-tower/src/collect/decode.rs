//! Decodes compressed bodies.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::{coding::Coding, error::CollectError, lease::Lease};

/// How much is decoded at once.
const CHUNK: usize = 64 << 10;
/// The largest window of zstd, as RFC 9659 limits it: 2^23 bytes. The decoder allocates it.
const ZSTD_WINDOW_LOG: u32 = 23;

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
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(|_| CollectError::Undecodable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| CollectError::Undecodable)?;
            decoded.read(decoder)?;
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
