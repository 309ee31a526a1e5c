//! SPDY/3.1 frames and header blocks: bytes to values and back. No I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

const VERSION: u16 = 3;
const HEADER: usize = 8;
/// Larger frames are refused: nobody sends them.
const MAX_FRAME: usize = 1 << 20;
/// Header blocks grow to at most this, unpacked.
const MAX_HEADERS: usize = 64 << 10;
const FLAG_FIN: u8 = 1;

pub type Headers = Vec<(String, String)>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ProtocolError(pub &'static str);

/// What travels in a session. Frames that mean nothing here (settings, windows) are `Other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Open {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Reply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    GoAway,
    Other,
}

/// Turns bytes into frames; keeps the state of header compression.
pub struct Decoder {
    inflate: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            inflate: Decompress::new(true),
        }
    }
}

impl Decoder {
    /// Takes the next whole frame out of `buffer`; none when it is not complete yet.
    ///
    /// # Errors
    /// When the bytes are not SPDY/3.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if buffer.len() < HEADER {
            return Ok(None);
        }
        let length =
            usize::from(buffer[5]) << 16 | usize::from(buffer[6]) << 8 | usize::from(buffer[7]);
        if length > MAX_FRAME {
            return Err(ProtocolError("frame too large"));
        }
        if buffer.len() < HEADER + length {
            buffer.reserve(HEADER + length - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(HEADER + length).freeze();
        let first = frame.get_u32();
        let fin = frame.get_u8() & FLAG_FIN != 0;
        frame.advance(3);
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data {
                stream: first,
                fin,
                bytes: frame,
            }));
        }
        if (first >> 16) as u16 & 0x7fff != VERSION {
            return Err(ProtocolError("not SPDY version 3"));
        }
        self.control(first as u16, fin, frame).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, ProtocolError> {
        let need = |body: &Bytes, n: usize| {
            if body.len() < n {
                Err(ProtocolError("short control frame"))
            } else {
                Ok(())
            }
        };
        match kind {
            1 => {
                need(&body, 10)?;
                let stream = body.get_u32() & 0x7fff_ffff;
                body.advance(6);
                Ok(Frame::Open {
                    stream,
                    fin,
                    headers: self.headers(&body)?,
                })
            }
            2 | 8 => {
                need(&body, 4)?;
                let stream = body.get_u32() & 0x7fff_ffff;
                let headers = self.headers(&body)?;
                Ok(if kind == 2 {
                    Frame::Reply {
                        stream,
                        fin,
                        headers,
                    }
                } else {
                    Frame::Other
                })
            }
            3 => {
                need(&body, 8)?;
                Ok(Frame::Reset {
                    stream: body.get_u32() & 0x7fff_ffff,
                    status: body.get_u32(),
                })
            }
            6 => {
                need(&body, 4)?;
                Ok(Frame::Ping(body.get_u32()))
            }
            7 => Ok(Frame::GoAway),
            _ => Ok(Frame::Other),
        }
    }

    /// All blocks of a session are one compressed stream, so each must be unpacked, wanted or not.
    fn headers(&mut self, packed: &[u8]) -> Result<Headers, ProtocolError> {
        let mut out = Vec::with_capacity(1024);
        let mut input = packed;
        while !input.is_empty() {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            out.reserve(1024);
            let result = self
                .inflate
                .decompress_vec(input, &mut out, FlushDecompress::Sync);
            let used = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(usize::MAX);
            input = input.get(used..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate
                        .set_dictionary(dictionary())
                        .map_err(|_| ProtocolError("foreign header dictionary"))?;
                }
                Err(_) => return Err(ProtocolError("damaged header block")),
                Ok(Status::StreamEnd) => break,
                Ok(_) if used == 0 && self.inflate.total_out() == before_out => {
                    return Err(ProtocolError("damaged header block"));
                }
                Ok(_) => {}
            }
            if out.len() > MAX_HEADERS {
                return Err(ProtocolError("headers too large"));
            }
        }
        self.drain(&mut out)?;
        unpack(&out)
    }

    /// Takes what the decompressor still holds back for want of room.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        loop {
            let before = self.inflate.total_out();
            out.reserve(1024);
            match self.inflate.decompress_vec(&[], out, FlushDecompress::Sync) {
                Ok(_) if self.inflate.total_out() == before => return Ok(()),
                Ok(_) if out.len() > MAX_HEADERS => return Err(ProtocolError("headers too large")),
                Ok(_) => {}
                // Nothing in, nothing out: all was given already.
                Err(_) => return Ok(()),
            }
        }
    }
}

fn unpack(mut block: &[u8]) -> Result<Headers, ProtocolError> {
    let short = ProtocolError("short header block");
    let text = |block: &mut &[u8]| -> Result<String, ProtocolError> {
        if block.len() < 4 {
            return Err(ProtocolError("short header block"));
        }
        let length = block.get_u32() as usize;
        if block.len() < length {
            return Err(ProtocolError("short header block"));
        }
        let (text, rest) = block.split_at(length);
        *block = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    if block.len() < 4 {
        return Err(short);
    }
    let count = block.get_u32();
    let mut out = Headers::new();
    for _ in 0..count {
        out.push((text(&mut block)?, text(&mut block)?));
    }
    Ok(out)
}

/// Turns frames into bytes; keeps the state of header compression.
pub struct Encoder {
    deflate: Compress,
    primed: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            deflate: Compress::new(Compression::default(), true),
            primed: false,
        }
    }
}

impl Encoder {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// When headers cannot be packed.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), ProtocolError> {
        match frame {
            Frame::Data { stream, fin, bytes } => {
                out.put_u32(*stream & 0x7fff_ffff);
                put_length(out, *fin, bytes.len());
                out.put_slice(bytes);
            }
            Frame::Open {
                stream,
                fin,
                headers,
            } => {
                let block = self.pack(headers)?;
                put_control(out, 1, *fin, 10 + block.len());
                out.put_u32(*stream);
                out.put_bytes(0, 6);
                out.put_slice(&block);
            }
            Frame::Reply {
                stream,
                fin,
                headers,
            } => {
                let block = self.pack(headers)?;
                put_control(out, 2, *fin, 4 + block.len());
                out.put_u32(*stream);
                out.put_slice(&block);
            }
            Frame::Reset { stream, status } => {
                put_control(out, 3, false, 8);
                out.put_u32(*stream);
                out.put_u32(*status);
            }
            Frame::Ping(id) => {
                put_control(out, 6, false, 4);
                out.put_u32(*id);
            }
            Frame::GoAway => {
                put_control(out, 7, false, 8);
                out.put_bytes(0, 8);
            }
            Frame::Other => {}
        }
        Ok(())
    }

    fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, ProtocolError> {
        let mut plain = BytesMut::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let failed = |_| ProtocolError("headers not packed");
        if !self.primed {
            self.deflate.set_dictionary(dictionary()).map_err(failed)?;
            self.primed = true;
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut input = &plain[..];
        loop {
            let before = self.deflate.total_in();
            out.reserve(256);
            self.deflate
                .compress_vec(input, &mut out, FlushCompress::Sync)
                .map_err(failed)?;
            input = &input[(self.deflate.total_in() - before) as usize..];
            // Room left over means that everything is out.
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

fn put_length(out: &mut BytesMut, fin: bool, length: usize) {
    out.put_u8(if fin { FLAG_FIN } else { 0 });
    out.put_slice(&(length as u32).to_be_bytes()[1..]);
}

fn put_control(out: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    put_length(out, fin, length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(n: usize) -> Headers {
        (0..n)
            .map(|i| {
                (
                    format!("streamtype{i}"),
                    format!("value-{}", "x".repeat(i * 7)),
                )
            })
            .collect()
    }

    #[test]
    fn frames_there_and_back() {
        let frames = vec![
            Frame::Open {
                stream: 1,
                fin: false,
                headers: headers(3),
            },
            Frame::Data {
                stream: 1,
                fin: false,
                bytes: Bytes::from_static(b"hello"),
            },
            Frame::Open {
                stream: 3,
                fin: true,
                headers: headers(40),
            },
            Frame::Reply {
                stream: 1,
                fin: false,
                headers: Headers::new(),
            },
            Frame::Reset {
                stream: 3,
                status: 5,
            },
            Frame::Ping(7),
            Frame::Data {
                stream: 1,
                fin: true,
                bytes: Bytes::new(),
            },
            Frame::GoAway,
        ];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut wire = BytesMut::new();
        frames
            .iter()
            .for_each(|f| encoder.encode(f, &mut wire).expect("encode"));
        // One byte at a time, as slow networks deliver.
        let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.put_u8(byte);
            got.extend(decoder.next(&mut buffer).expect("decode"));
        }
        assert_eq!(got, frames);
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        let mut encoder = Encoder::default();
        let mut wire = BytesMut::new();
        encoder
            .encode(
                &Frame::Open {
                    stream: 1,
                    fin: false,
                    headers: headers(5),
                },
                &mut wire,
            )
            .expect("encode");
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 0xff;
            let _ = Decoder::default().next(&mut bad);
        }
        let mut short = BytesMut::from(&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0][..]);
        assert!(Decoder::default().next(&mut short).is_err());
    }
}
