//! The line format of container logs: `<time> <stdout|stderr> <F|P> <text>`.

use k8s_openapi::jiff::Timestamp;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    pub is_stderr: bool,
    /// The text goes on in the next line.
    pub partial: bool,
    pub text: &'a [u8],
}

impl Line<'_> {
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Takes a line apart; `None` when it is not one. The line end may be there or not.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let is_stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let tag = parts.next()?;
    let text = parts.next().unwrap_or_default();
    Some(Line {
        time,
        is_stderr,
        partial: tag.split(|b| *b == b':').next() == Some(b"P"),
        text,
    })
}

/// The text of a line.
pub fn message_of(line: &str) -> Option<&str> {
    parse(line.as_bytes()).and_then(|l| std::str::from_utf8(l.text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line =
            parse(b"2016-10-06T00:17:09.669794202Z stdout F log content 1\n").expect("a line");
        assert_eq!(
            (line.text, line.partial, line.is_stderr),
            (&b"log content 1"[..], false, false)
        );
        assert_eq!(
            line.timestamp().map(|t| t.subsec_nanosecond()),
            Some(669_794_202)
        );
        let partial = parse(b"2016-10-06T00:17:09Z stderr P ").expect("a line");
        assert_eq!(
            (partial.text, partial.partial, partial.is_stderr),
            (&b""[..], true, true)
        );
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b""), None);
    }
}
