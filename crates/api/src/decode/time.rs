//! RFC 3339 times as the original reads and prints them, with Go's words for what is wrong.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// How a time is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `2006-01-02T15:04:05Z` (`metav1.Time`); fractions are accepted and dropped.
    Seconds,
    /// `2006-01-02T15:04:05.000000Z` (`metav1.MicroTime`); the fraction must have six digits.
    Micros,
}

/// The first second of the year 0: years before it are not written in four digits, and nobody could read them again.
const EARLIEST: i64 = -62_167_219_200;

/// Whether a time can be read again once it is printed.
pub fn readable(time: Timestamp) -> bool {
    time.as_second() >= EARLIEST
}

/// Reads a time and prints it in UTC.
///
/// # Errors
/// Go's `time.Parse` message.
pub fn canonical(text: &str, precision: Precision) -> Result<String, String> {
    Ok(print(parse(text, precision)?, precision))
}

/// Prints a time in UTC.
pub fn print(time: Timestamp, precision: Precision) -> String {
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let seconds = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match precision {
        Precision::Seconds => format!("{seconds}Z"),
        Precision::Micros => format!("{seconds}.{:06}Z", time.subsec_nanosecond() / 1000),
    }
}

/// Reads a time.
///
/// # Errors
/// Go's `time.Parse` message.
pub fn parse(text: &str, precision: Precision) -> Result<Timestamp, String> {
    let layout = match precision {
        Precision::Seconds => "2006-01-02T15:04:05Z07:00",
        Precision::Micros => "2006-01-02T15:04:05.000000Z07:00",
    };
    let parts = split(text, precision).map_err(|(rest, element)| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
    })?;
    let out_of_range = |what: &str| format!("parsing time {text:?}: {what} out of range");
    for (value, low, high, what) in [
        (parts.date[1], 1, 12, "month"),
        (parts.clock[0], 0, 23, "hour"),
        (parts.clock[1], 0, 59, "minute"),
        (parts.clock[2], 0, 59, "second"),
    ] {
        if value < low || value > high {
            return Err(out_of_range(what));
        }
    }
    let [year, month, day] = parts.date;
    let [hour, minute, second] = parts.clock;
    let civil = DateTime::new(
        year as i16,
        month as i8,
        day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        parts.nanos,
    )
    .map_err(|_| out_of_range("day"))?;
    let offset =
        Offset::from_seconds(parts.offset).map_err(|_| out_of_range("time zone offset hour"))?;
    let time = offset.to_timestamp(civil).ok();
    time.filter(|time| readable(*time))
        .ok_or_else(|| out_of_range("year"))
}

struct Parts {
    date: [i32; 3],
    clock: [i32; 3],
    nanos: i32,
    /// Seconds east of UTC.
    offset: i32,
}

/// What is left of the text, and the layout element that does not fit there.
type Misfit<'a> = (&'a str, &'static str);

fn split(text: &str, precision: Precision) -> Result<Parts, Misfit<'_>> {
    let mut rest = text;
    let mut numbers = [0; 6];
    let elements = [
        ("2006", 4, "-"),
        ("01", 2, "-"),
        ("02", 2, "T"),
        ("15", 2, ":"),
        ("04", 2, ":"),
        ("05", 2, ""),
    ];
    for (slot, (element, width, then)) in numbers.iter_mut().zip(elements) {
        *slot = digits(rest, width).ok_or((rest, element))?;
        rest = &rest[width..];
        rest = rest.strip_prefix(then).ok_or((rest, then))?;
    }
    let nanos;
    (nanos, rest) = fraction(rest, precision)?;
    let offset = match rest.strip_prefix('Z') {
        Some("") => 0,
        Some(extra) => return Err((extra, "")),
        None => offset(rest).ok_or((rest, "Z07:00"))?,
    };
    let [year, month, day, hour, minute, second] = numbers;
    Ok(Parts {
        date: [year, month, day],
        clock: [hour, minute, second],
        nanos,
        offset,
    })
}

fn fraction(rest: &str, precision: Precision) -> Result<(i32, &str), Misfit<'_>> {
    let found = rest
        .strip_prefix(['.', ','])
        .map(|f| f.bytes().take_while(u8::is_ascii_digit).count())
        .filter(|n| *n > 0);
    match (precision, found) {
        (Precision::Micros, Some(6)) => Ok((digits(&rest[1..], 6).unwrap_or(0) * 1000, &rest[7..])),
        (Precision::Micros, _) => Err((rest, ".000000")),
        (Precision::Seconds, None) => Ok((0, rest)),
        (Precision::Seconds, Some(n)) => {
            let shown = format!("{:0<9.9}", &rest[1..=n]);
            Ok((shown.parse().unwrap_or(0), &rest[n + 1..]))
        }
    }
}

fn digits(text: &str, width: usize) -> Option<i32> {
    let part = text.get(..width)?;
    if part.bytes().all(|b| b.is_ascii_digit()) {
        part.parse().ok()
    } else {
        None
    }
}

/// `+02:00`
fn offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if text.len() != 6 || text.as_bytes()[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(text.get(1..)?, 2)?, digits(text.get(4..)?, 2)?);
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc_and_errors_as_go_words_them() {
        for (text, want) in [
            ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09Z"),
            ("2024-05-06T07:08:09+02:00", "2024-05-06T05:08:09Z"),
            ("2024-05-06T07:08:09.987654321Z", "2024-05-06T07:08:09Z"),
            (
                "yesterday",
                "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
            ),
            (
                "2024-05-06",
                "parsing time \"2024-05-06\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
            ),
            (
                "2024-13-06T07:08:09Z",
                "parsing time \"2024-13-06T07:08:09Z\": month out of range",
            ),
            (
                "2024-02-30T07:08:09Z",
                "parsing time \"2024-02-30T07:08:09Z\": day out of range",
            ),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            (
                "0000-01-01T00:00:00+01:00",
                "parsing time \"0000-01-01T00:00:00+01:00\": year out of range",
            ),
        ] {
            let got = canonical(text, Precision::Seconds).unwrap_or_else(|e| e);
            assert_eq!(got, want);
        }
        assert_eq!(
            canonical("2024-05-06T07:08:09.123456Z", Precision::Micros).unwrap(),
            "2024-05-06T07:08:09.123456Z"
        );
        let error = canonical("2024-05-06T07:08:09Z", Precision::Micros).unwrap_err();
        assert!(
            error.ends_with("cannot parse \"Z\" as \".000000\""),
            "{error}"
        );
        assert!(canonical("2024-05-06T07:08:09é", Precision::Seconds).is_err());
    }
}
