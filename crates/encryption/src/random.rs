//! Random bytes.

/// # Errors
/// When the machine gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).map_err(|_| "no random bytes".to_owned())?;
    Ok(out)
}
