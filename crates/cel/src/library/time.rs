//! Timestamps and durations.

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

use super::{Answer, Native, no_overload};
use crate::{EvalError, value::Value};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "getFullYear" => |args| part(args, |t| t.year().into(), None),
        "getMonth" => |args| part(args, |t| i64::from(t.month()) - 1, None),
        "getDate" => |args| part(args, |t| t.day().into(), None),
        "getDayOfMonth" => |args| part(args, |t| i64::from(t.day()) - 1, None),
        "getDayOfWeek" => |args| part(args, |t| t.weekday().to_sunday_zero_offset().into(), None),
        "getDayOfYear" => |args| part(args, |t| i64::from(t.day_of_year()) - 1, None),
        "getHours" => |args| part(args, |t| t.hour().into(), Some(3_600_000_000_000)),
        "getMinutes" => |args| part(args, |t| t.minute().into(), Some(60_000_000_000)),
        "getSeconds" => |args| part(args, |t| t.second().into(), Some(1_000_000_000)),
        "getMilliseconds" => |args| part(args, |t| t.millisecond().into(), Some(1_000_000)),
        _ => return None,
    })
}

/// A part of a timestamp in a time zone, or a duration in units of so many nanoseconds.
fn part<'a>(args: &[Value<'a>], of: fn(&Zoned) -> i64, unit: Option<i64>) -> Answer<'a> {
    match (args, unit) {
        ([Value::Timestamp(time)], _) => Ok(Value::Int(of(&time.to_zoned(TimeZone::UTC)))),
        ([Value::Timestamp(time), Value::String(zone)], _) => {
            let zone = time_zone(zone.as_str())?;
            Ok(Value::Int(of(&time.to_zoned(zone))))
        }
        ([Value::Duration(nanos)], Some(unit)) => Ok(Value::Int(nanos / unit)),
        _ => no_overload(),
    }
}

fn time_zone(name: &str) -> Result<TimeZone, EvalError> {
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let unknown = || EvalError::other(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let minutes = if negative { -minutes } else { minutes };
    let seconds = hours
        .saturating_mul(3600)
        .saturating_add(minutes.saturating_mul(60));
    let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|_| unknown())?;
    Ok(TimeZone::fixed(offset))
}

/// Timestamps go from the year 1 to the year 9999.
pub(crate) fn in_range(time: Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&time.as_nanosecond().div_euclid(1_000_000_000))
}

/// `2006-01-02T15:04:05.999999999Z` (RFC 3339).
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    if bytes.len() < shape.len() + 1 {
        return None;
    }
    let good = shape.iter().zip(bytes).all(|(s, b)| match s {
        b'd' => b.is_ascii_digit(),
        b'T' => matches!(b, b'T' | b't'),
        other => other == b,
    });
    let tail = &text[shape.len()..];
    let zone = tail.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let zone_is_good = zone == "Z"
        || zone == "z"
        || (zone.len() == 6 && zone.starts_with(['+', '-']) && zone.as_bytes()[3] == b':');
    if !good || !zone_is_good {
        return None;
    }
    text.parse().ok().filter(|t| in_range(*t))
}

/// `2006-01-02`
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let date: Date = Some(text).filter(|t| t.len() == 10)?.parse().ok()?;
    let time = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(time).filter(|t| in_range(*t))
}

pub(crate) fn show_timestamp(time: Timestamp) -> String {
    time.to_string()
}

/// Seconds, as few digits as needed: `1.5s`.
pub(crate) fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `1h30m`, `-1.5s`, `0`, as nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, factor)?)?;
        rest = tail;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).ok()
}

/// A decimal number times a factor; digits beyond that are dropped.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 60 {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut value = whole.checked_mul(factor)?;
    let mut unit = factor;
    for digit in fraction.chars() {
        let digit = i128::from(digit.to_digit(10)?);
        value += unit * digit / 10;
        unit /= 10;
    }
    Some(value)
}

/// Durations in documents (`format: duration`): the same, and days and weeks.
pub(crate) fn parse_schema_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let seconds = match unit.strip_suffix('s').unwrap_or(unit) {
        "d" | "day" => 86_400,
        "w" | "week" | "wk" => 604_800,
        "hour" | "hr" => 3600,
        "minute" | "min" => 60,
        "second" | "sec" => 1,
        _ => return None,
    };
    number.checked_mul(seconds)?.checked_mul(1_000_000_000)
}
