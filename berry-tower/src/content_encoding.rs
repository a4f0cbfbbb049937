//! Decoding of compressed bodies (RFC 9110, section 8.4): gzip, deflate, br and zstd.

use std::{
    io::{self, Write},
    mem,
};

use http::{HeaderMap, header::CONTENT_ENCODING};

/// The most bytes that one piece of input may become. A piece that becomes more is a bomb.
const MAX_PIECE: usize = 16 << 20;
/// The largest window of zstd, as RFC 8878 recommends: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
/// The window buffer of brotli's input.
const BROTLI_BUFFER: usize = 4096;

/// A supported content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The content coding is none of the supported ones, or several were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported;

impl Coding {
    /// Returns the coding that the headers name; `None` for `identity` and where none is named.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Unsupported> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| Unsupported)?.split(',').map(str::trim) {
                let coding = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    "zstd" => Self::Zstd,
                    _ => return Err(Unsupported),
                };
                if found.replace(coding).is_some() {
                    return Err(Unsupported);
                }
            }
        }
        Ok(found)
    }
}

/// Decodes a body that comes in pieces.
pub(crate) struct Decoder(Inner);

enum Inner {
    Gzip(flate2::write::MultiGzDecoder<Sink>),
    /// The format is known from the first two bytes: servers send zlib's, as the RFC says, or none.
    Deflate(Vec<u8>),
    Zlib(flate2::write::ZlibDecoder<Sink>),
    Raw(flate2::write::DeflateDecoder<Sink>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Sink>>),
    Zstd(zstd::stream::write::Decoder<'static, Sink>),
}

/// What was decoded and not taken yet.
#[derive(Default)]
struct Sink(Vec<u8>);

impl Sink {
    fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.0)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PIECE {
            return Err(io::Error::other("a compressed body that is too large when it is decoded"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// Returns a decoder of this coding.
    ///
    /// # Errors
    ///
    /// zstd cannot allocate its state.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Gzip => Inner::Gzip(flate2::write::MultiGzDecoder::new(Sink::default())),
            Coding::Deflate => Inner::Deflate(Vec::new()),
            Coding::Brotli => {
                Inner::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(Sink::default(), BROTLI_BUFFER)))
            }
            Coding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(Sink::default())?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(decoder)
            }
        }))
    }

    /// Decodes the next piece, as far as it can be decoded without those that follow.
    ///
    /// # Errors
    ///
    /// The body is not of its coding, or becomes too large.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.0 {
            Inner::Gzip(decoder) => decode(decoder, bytes)?,
            Inner::Zlib(decoder) => decode(decoder, bytes)?,
            Inner::Raw(decoder) => decode(decoder, bytes)?,
            Inner::Brotli(decoder) => decode(&mut **decoder, bytes)?,
            Inner::Zstd(decoder) => decode(decoder, bytes)?,
            Inner::Deflate(begin) => {
                begin.extend_from_slice(bytes);
                let [first, second, ..] = begin[..] else { return Ok(Vec::new()) };
                // RFC 1950, section 2.2: the method is 8, and the head is a multiple of 31.
                let is_zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
                let begin = mem::take(begin);
                self.0 = if is_zlib {
                    Inner::Zlib(flate2::write::ZlibDecoder::new(Sink::default()))
                } else {
                    Inner::Raw(flate2::write::DeflateDecoder::new(Sink::default()))
                };
                return self.push(&begin);
            }
        }
        Ok(match &mut self.0 {
            Inner::Gzip(decoder) => decoder.get_mut().take(),
            Inner::Zlib(decoder) => decoder.get_mut().take(),
            Inner::Raw(decoder) => decoder.get_mut().take(),
            Inner::Brotli(decoder) => decoder.get_mut().take(),
            Inner::Zstd(decoder) => decoder.get_mut().take(),
            Inner::Deflate(_) => Vec::new(),
        })
    }

    /// Returns what is left when the body has ended.
    ///
    /// # Errors
    ///
    /// The body is incomplete, as far as its coding can tell.
    pub(crate) fn finish(&mut self) -> io::Result<Vec<u8>> {
        match &mut self.0 {
            Inner::Gzip(decoder) => decoder.try_finish().map(|()| decoder.get_mut().take()),
            Inner::Zlib(decoder) => decoder.try_finish().map(|()| decoder.get_mut().take()),
            Inner::Raw(decoder) => decoder.try_finish().map(|()| decoder.get_mut().take()),
            Inner::Brotli(decoder) => decoder.close().map(|()| decoder.get_mut().take()),
            Inner::Zstd(decoder) => decoder.flush().map(|()| decoder.get_mut().take()),
            Inner::Deflate(begin) if begin.is_empty() => Ok(Vec::new()),
            Inner::Deflate(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn decode(decoder: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    decoder.write_all(bytes)?;
    // Without it the last piece stays in the decoder's buffer.
    decoder.flush()
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write};
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = b"a text that repeats, a text that repeats, a text that repeats";

    fn encoded(coding: Coding, text: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            // One uncompressed meta-block, and an empty last one (RFC 7932, section 9.2).
            Coding::Brotli => {
                assert_eq!(text.len(), 61);
                let length = u32::try_from(text.len() - 1).unwrap();
                // WBITS 16 (0), ISLAST 0, MNIBBLES 4 (00), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1.
                let head = length << 4 | 1 << 20;
                let mut out = head.to_le_bytes()[..3].to_vec();
                out.extend_from_slice(text);
                out.push(0b11);
                out
            }
            Coding::Zstd => zstd::stream::encode_all(text, 0).unwrap(),
        }
    }

    #[test]
    fn decodes_every_coding_however_it_is_cut() {
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            let bytes = encoded(coding, TEXT);
            for size in 1..=bytes.len() {
                let mut decoder = Decoder::new(coding).unwrap();
                let mut out = Vec::new();
                for piece in bytes.chunks(size) {
                    out.extend(decoder.push(piece).unwrap());
                }
                out.extend(decoder.finish().unwrap());
                assert_eq!(out, TEXT, "{coding:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn decodes_deflate_without_a_head() {
        let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(TEXT).unwrap();
        let mut decoder = Decoder::new(Coding::Deflate).unwrap();
        assert_eq!(decoder.push(&encoder.finish().unwrap()).unwrap(), TEXT);
    }

    #[test]
    fn a_flushed_piece_is_decoded_at_once() {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let mut decoder = Decoder::new(Coding::Gzip).unwrap();
        assert_eq!(decoder.push(encoder.get_ref()).unwrap(), b"data: 1\n\n");
        assert!(decoder.finish().is_err(), "the trailer is missing");
    }

    #[test]
    fn a_bomb_is_refused() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let bomb = encoded(coding, &vec![0; MAX_PIECE + 1]);
            assert!(bomb.len() < 64 * 1024);
            assert!(Decoder::new(coding).unwrap().push(&bomb).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            assert!(Decoder::new(coding).unwrap().push(b"{\"a\":1} is no such thing at all").is_err(), "{coding:?}");
        }
    }

    #[test]
    fn reads_one_supported_coding() {
        let read = |value: &'static str| {
            Coding::read(&HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]))
        };
        for (value, coding) in [("gzip", Coding::Gzip), ("X-GZIP", Coding::Gzip), ("identity, br", Coding::Brotli)] {
            assert_eq!(read(value), Ok(Some(coding)));
        }
        assert_eq!((read("identity"), Coding::read(&HeaderMap::new())), (Ok(None), Ok(None)));
        assert_eq!((read("gzip, gzip"), read("aes128gcm")), (Err(Unsupported), Err(Unsupported)));
    }
}
