//! JSON with numbers as Go writes them.

use std::io::{Result, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Compact JSON; numbers as Go writes them: `3` for 3.0, digits up to 1e21.
struct Go;

impl Formatter for Go {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            let text = format!("{value:e}");
            return match text.split_once('e') {
                Some((digits, power)) if !power.starts_with('-') => {
                    write!(writer, "{digits}e+{power}")
                }
                _ => writer.write_all(text.as_bytes()),
            };
        }
        write!(writer, "{value}")
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// What the writer says.
pub fn to_writer(out: impl Write, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Go))
}

/// A value as JSON.
///
/// # Errors
/// When a value cannot be written, which those of JSON always can.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    to_writer(&mut out, value)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let of = |v: f64| String::from_utf8(to_vec(&v).unwrap()).unwrap();
        let all = [
            3.0,
            0.5,
            1.2345678901234567e19,
            1e21,
            1.5e22,
            1e-6,
            1e-7,
            -2.5e-9,
            0.0,
            100.0,
        ];
        let shown: Vec<String> = all.into_iter().map(of).collect();
        let want = [
            "3",
            "0.5",
            "12345678901234567000",
            "1e+21",
            "1.5e+22",
            "0.000001",
            "1e-7",
            "-2.5e-9",
            "0",
            "100",
        ];
        assert_eq!(shown, want);
    }
}
