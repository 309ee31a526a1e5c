//! Lists of indexes of a Job's pods: `1,3-5,7`.

/// Counts the indexes of a list, which must rise and stay below `completions`.
///
/// # Errors
/// With what is wrong.
pub fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in parts(text) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|l| *l >= first) {
            return Err(order(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

fn order(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<&str> = text.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let first = index(ends[0], completions)?;
    let Some(end) = ends.get(1) else {
        return Ok((first, first));
    };
    let end = index(end, completions)?;
    if first >= end {
        return Err(order(first, end));
    }
    Ok((first, end))
}

fn index(text: &str, completions: i64) -> Result<i64, String> {
    let n: i64 = text
        .parse()
        .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
    if n >= completions {
        return Err(format!("too large index: {text:?}"));
    }
    Ok(n)
}

/// The first index that is in both lists. Parts that cannot be read are passed over: what is wrong with them is told elsewhere.
pub fn shared(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text| -> Vec<(i64, i64)> {
        parts(text)
            .filter_map(|p| interval(p, completions).ok())
            .collect()
    };
    let (one, other) = (read(one), read(other));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes() {
        for (text, want) in [
            ("", Ok(0)),
            ("0,2-4", Ok(4)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("4-2", Err("non-increasing order, previous: 4, current: 2")),
            ("5", Err("too large index: \"5\"")),
            (
                "1,",
                Err("cannot convert string to integer for index: \"\""),
            ),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ] {
            assert_eq!(count(text, 5), want.map_err(str::to_owned), "{text}");
        }
        assert_eq!(shared("0,2-4", "1,4", 5), Some(4));
        assert_eq!(shared("0,2-3", "1,4", 5), None);
        assert_eq!(shared("", "1", 5), None);
    }
}
