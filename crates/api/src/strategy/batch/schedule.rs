//! Cron schedules: what is wrong with one, in the words of the parser that the original uses.

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Lowest and highest number of a field, and names that stand for numbers from the lowest on.
struct Bounds {
    min: u32,
    max: u32,
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

/// Checks a schedule.
///
/// # Errors
/// With what is wrong.
pub fn check(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        return descriptor(schedule, word);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    // the parser reads minutes first and tells the first mistake
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for range in field.split(',') {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(schedule: &str, word: &str) -> Result<(), String> {
    match word {
        "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
        _ if word.starts_with("every ") => {
            let amount = &word["every ".len()..];
            let fine = amount.ends_with(['s', 'm', 'h'])
                && amount.starts_with(|c: char| c.is_ascii_digit());
            if fine {
                Ok(())
            } else {
                Err(format!(
                    "failed to parse duration {schedule}: time: invalid duration {amount:?}"
                ))
            }
        }
        _ => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    if step.is_some_and(|s| s.contains('/')) {
        return Err(format!("too many slashes: {text}"));
    }
    let (start, mut end) = match range.split_once('-') {
        _ if range == "*" || range == "?" => (bounds.min, bounds.max),
        Some((_, high)) if high.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((low, high)) => (number(low, bounds)?, number(high, bounds)?),
        None => {
            let n = number(range, bounds)?;
            (n, n)
        }
    };
    if let Some(step) = step {
        let step = number(
            step,
            &Bounds {
                min: 0,
                max: u32::MAX,
                names: &[],
            },
        )?;
        if !range.contains('-') {
            end = bounds.max;
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
    }
    if start < bounds.min {
        return Err(format!(
            "beginning of range ({start}) below minimum ({}): {text}",
            bounds.min
        ));
    }
    if end > bounds.max {
        return Err(format!(
            "end of range ({end}) above maximum ({}): {text}",
            bounds.max
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    Ok(())
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, String> {
    if let Some(i) = bounds
        .names
        .iter()
        .position(|n| n.eq_ignore_ascii_case(text))
    {
        return Ok(bounds.min + i as u32);
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => u32::try_from(n).map_err(|_| format!("failed to parse int from {text}")),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
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
        ] {
            assert_eq!(check(schedule), Err(want.to_owned()));
        }
    }
}
