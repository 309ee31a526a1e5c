//! Tokens that are known from the start: `--token-auth-file`, lines of `token,user,uid,"group1,group2"`.

use std::collections::HashMap;

use crate::UserInfo;

/// Users by token.
#[derive(Default)]
pub(crate) struct Fixed(HashMap<String, UserInfo>);

impl Fixed {
    pub fn new(tokens: Vec<(String, UserInfo)>) -> Self {
        Fixed(tokens.into_iter().collect())
    }

    pub fn user(&self, token: &str) -> Option<UserInfo> {
        // The map's keyed hash decides which one is compared, so that time tells nothing about other tokens.
        let (known, user) = self.0.get_key_value(token)?;
        super::same(known, token).then(|| user.clone())
    }
}

/// Reads a token file.
///
/// # Errors
/// The line that has fewer than three columns or open quotes.
pub fn parse(text: &str) -> Result<Vec<(String, UserInfo)>, String> {
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let columns = columns(line).ok_or_else(|| format!("line {}: open quote", n + 1))?;
        let [token, name, uid, ..] = columns.as_slice() else {
            return Err(format!(
                "line {}: expected at least 3 columns (token, user name, user uid), found {}",
                n + 1,
                columns.len()
            ));
        };
        if token.is_empty() {
            tracing::warn!(line = n + 1, "empty token in the token file");
            continue;
        }
        let groups = columns.get(3).map(String::as_str).unwrap_or_default();
        let groups = groups.split(',').map(str::trim).filter(|g| !g.is_empty());
        let mut user = UserInfo::new(name, groups);
        user.uid = uid.clone();
        out.push((token.clone(), user));
    }
    Ok(out)
}

/// The columns of a CSV line; none when a quote is left open.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut out = vec![String::new()];
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                out.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            // Readers of such files skip what leads a column.
            ' ' if !quoted && out.last()?.is_empty() => {}
            c => out.last_mut()?.push(c),
        }
    }
    (!quoted).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_users() {
        let text = "t1,ann,1\n\nt2,bob,2,\"g1,g2\"\n# no\n t3, \"c\"\"d\" ,3,one\n";
        let users = parse(text).unwrap();
        let shown: Vec<_> = users
            .iter()
            .map(|(t, u)| {
                (
                    t.as_str(),
                    u.name.trim_end(),
                    u.uid.as_str(),
                    u.groups.len(),
                )
            })
            .collect();
        let want = [
            ("t1", "ann", "1", 1),
            ("t2", "bob", "2", 3),
            ("t3", "c\"d", "3", 2),
        ];
        assert_eq!(shown, want);
        assert!(parse("a,b").unwrap_err().contains("line 1"));
        assert!(parse("a,\"b,c").is_err());
    }
}
