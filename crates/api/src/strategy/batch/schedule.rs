//! Cron schedules: what is wrong with one, in the words of the parser that the original uses.

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Lowest and highest number of a field, and names that stand for numbers from the lowest on.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds {
        min: 0,
        max: 59,
        names: &[],
    },
    Bounds {
        min: 0,
        max: 23,
        names: &[],
    },
    Bounds {
        min: 1,
        max: 31,
        names: &[],
    },
    Bounds {
        min: 1,
        max: 12,
        names: &MONTHS,
    },
    Bounds {
        min: 0,
        max: 6,
        names: &DAYS,
    },
];

/// Whether a time zone of exactly this name exists.
pub fn is_zone(name: &str) -> bool {
    let found = jiff::tz::TimeZone::get(name);
    name == "UTC" || found.is_ok_and(|zone| zone.iana_name() == Some(name))
}

/// Checks a schedule.
///
/// # Errors
/// With what is wrong.
pub fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    for mark in ["TZ=", "CRON_TZ="] {
        if let Some(zoned) = schedule.strip_prefix(mark) {
            let (zone, when) = zoned.split_once(' ').unwrap_or((zoned, ""));
            if !zone.is_empty() && !["UTC", "Local"].contains(&zone) && !is_zone(zone) {
                return Err(format!(
                    "provided bad location {zone}: unknown time zone {zone}"
                ));
            }
            rest = when.trim();
        }
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    // the parser reads minutes first and tells the first mistake
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for range in field.split(',').filter(|r| !r.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    const NAMED: [&str; 7] = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    match text.strip_prefix("@every ") {
        Some(amount) => {
            go_duration(amount).map_err(|words| format!("failed to parse duration {text}: {words}"))
        }
        None if NAMED.contains(&text) => Ok(()),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// Whether Go reads this as a duration: `1h30m`, `-1.5s`, `0`.
fn go_duration(text: &str) -> Result<(), String> {
    let invalid = || Err(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let digits = &rest[..number];
        let plain = digits.matches('.').count() <= 1 && digits.bytes().any(|c| c.is_ascii_digit());
        let whole = digits.split('.').next().unwrap_or_default();
        if !plain || (!whole.is_empty() && whole.parse::<i64>().is_err()) {
            return invalid();
        }
        rest = &rest[number..];
        let end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = &rest[..end];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        if !["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"].contains(&unit) {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        }
        rest = &rest[end..];
    }
    Ok(())
}

fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [low, rest @ ..] => {
            let low = number(low, bounds.names, bounds.min)?;
            match rest {
                [] => (low, low),
                [high] => (low, number(high, bounds.names, bounds.min)?),
                _ => return Err(format!("too many hyphens: {text}")),
            }
        }
        [] => (bounds.min, bounds.max),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = bounds.max;
            }
            number(step, &[], 0)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (min, max) = (bounds.min, bounds.max);
    match () {
        () if start < min => Err(format!(
            "beginning of range ({start}) below minimum ({min}): {text}"
        )),
        () if end > max => Err(format!(
            "end of range ({end}) above maximum ({max}): {text}"
        )),
        () if start > end => Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        )),
        () if step == 0 => Err(format!("step of range should be a positive number: {text}")),
        () => Ok(()),
    }
}

/// A number, or a name that stands for one: the first name for `lowest`.
fn number(text: &str, names: &[&str], lowest: u64) -> Result<u64, String> {
    if let Some(i) = names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        return Ok(lowest + i as u64);
    }
    let failed = |why: &str| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}")
    };
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(n.unsigned_abs()),
        Err(e) => Err(match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                failed("value out of range")
            }
            _ => failed("invalid syntax"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules() {
        for fine in [
            "*/7 * * * *",
            "30 2 1,15 JAN-JUN MON",
            "@hourly",
            "@every 5m",
            "0 0 ? * *",
            "1,,2 * * * *",
            "@every 1h30m",
            "TZ=Asia/Tokyo 0 0 * * *",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (schedule, want) in [
            (
                "every tuesday",
                "expected exactly 5 fields, found 2: [every tuesday]",
            ),
            ("61 25 * * *", "end of range (61) above maximum (59): 61"),
            ("0 24 * * *", "end of range (24) above maximum (23): 24"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
            ("@never", "unrecognized descriptor: @never"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/2/3 * * * *", "too many slashes: */2/3"),
            (
                "*/0 * * * *",
                "step of range should be a positive number: */0",
            ),
            ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("0 0 * * 7", "end of range (7) above maximum (6): 7"),
            (
                "@every 5",
                "failed to parse duration @every 5: time: missing unit in duration \"5\"",
            ),
            (
                "@every 5d",
                "failed to parse duration @every 5d: time: unknown unit \"d\" in duration \"5d\"",
            ),
            (
                "@every soon",
                "failed to parse duration @every soon: time: invalid duration \"soon\"",
            ),
        ] {
            assert_eq!(check(schedule), Err(want.to_owned()));
        }
    }
}
