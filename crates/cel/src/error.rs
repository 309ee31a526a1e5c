//! What can be wrong with an expression, and with running it.

use std::fmt;

/// One thing wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub message: String,
    /// Counted from 1; 0 where no place is known.
    pub line: usize,
    /// Characters before the place in its line; counted from 0.
    pub column: usize,
}

/// Everything wrong with an expression; prints as the original prints it, with the lines and a mark below each place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileErrors {
    pub issues: Vec<Issue>,
    pub(crate) source: String,
}

/// The original stops telling after so many.
const SHOWN: usize = 100;

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut issues: Vec<&Issue> = self.issues.iter().collect();
        issues.sort_by_key(|i| (i.line, i.column));
        for (n, issue) in issues.iter().take(SHOWN).enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            show(f, &self.source, issue)?;
        }
        if issues.len() > SHOWN {
            write!(f, "\n{} more errors were truncated", issues.len() - SHOWN)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, source: &str, issue: &Issue) -> fmt::Result {
    let shown_column = match issue.line {
        0 => 0,
        _ => issue.column + 1,
    };
    let line_number = issue.line as isize - if issue.line == 0 { 1 } else { 0 };
    write!(
        f,
        "ERROR: <input>:{line_number}:{shown_column}: {}",
        issue.message
    )?;
    let Some(line) = issue
        .line
        .checked_sub(1)
        .and_then(|n| source.split('\n').nth(n))
    else {
        return Ok(());
    };
    write!(f, "\n | {}", line.replace('\t', " "))?;
    f.write_str("\n | ")?;
    // A wide character moves the mark by two columns; the original puts a wide dot there.
    for c in line.chars().take(issue.column) {
        f.write_str(if c.len_utf8() > 1 { "．" } else { "." })?;
    }
    let wide = line
        .chars()
        .nth(issue.column)
        .is_some_and(|c| c.len_utf8() > 1);
    f.write_str(if wide { "＾" } else { "^" })
}

impl std::error::Error for CompileErrors {}

/// Why an expression has no value; printed as the original prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The budget of this call is used up; nothing more may run.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    #[error("no such key: {0}")]
    NoSuchKey(String),
    #[error("no such attribute(s): {0}")]
    NoSuchAttribute(String),
    #[error("no such overload")]
    NoSuchOverload,
    #[error("no such overload: {0}")]
    NoSuchOverloadOf(String),
    #[error("division by zero")]
    DivisionByZero,
    #[error("modulus by zero")]
    ModulusByZero,
    #[error("{0} overflow")]
    Overflow(&'static str),
    #[error("index out of bounds: {0}")]
    OutOfBounds(String),
    #[error("{0}")]
    Other(String),
}

impl EvalError {
    pub fn other(text: impl Into<String>) -> Self {
        EvalError::Other(text.into())
    }
}
