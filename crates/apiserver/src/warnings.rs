//! Warnings of one request, each once and no more than headers may hold: when there are too many, each is shortened and the
//! last are left out, as the original does.

use std::collections::HashSet;

/// Characters of all warnings together.
const TOTAL: usize = 4096;
/// Characters of each, when they do not fit otherwise.
const EACH: usize = 256;

#[derive(Default)]
pub struct Warnings {
    seen: HashSet<String>,
    texts: Vec<String>,
    /// Characters in `texts`.
    length: usize,
    shortening: bool,
}

impl Warnings {
    pub fn add(&mut self, mut text: String) {
        let full = self.shortening && self.length >= TOTAL;
        if text.is_empty() || full || !self.seen.insert(text.clone()) {
            return;
        }
        if self.shortening {
            shorten(&mut text);
        }
        self.length += text.chars().count();
        self.texts.push(text);
        if self.length > TOTAL && !self.shortening {
            self.shortening = true;
            self.texts.iter_mut().for_each(shorten);
            self.length = self.texts.iter().map(|t| t.chars().count()).sum();
        }
    }

    /// As they are told.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(EACH) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_bounded() {
        let shown = |texts: &[String]| {
            let mut warnings = Warnings::default();
            texts.iter().for_each(|t| warnings.add(t.clone()));
            let texts = warnings.texts().iter();
            texts.map(|t| t.chars().count()).collect::<Vec<_>>()
        };
        let of = |count: usize, length: usize| -> Vec<String> {
            (0..count)
                .map(|n| format!("{n:03}{}", "\u{fc}".repeat(length - 3)))
                .collect()
        };
        assert_eq!(
            shown(&["a".into(), String::new(), "b".into(), "a".into()]),
            [1, 1]
        );
        assert_eq!(shown(&of(1, 4096)), [4096], "one may be as long as all");
        assert_eq!(shown(&of(1, 4097)), [256]);
        assert_eq!(shown(&of(4, 1000)), [1000; 4]);
        assert_eq!(shown(&of(5, 1000)), [256; 5]);
        assert_eq!(shown(&of(100, 1000)), [256; 16]);
        assert_eq!(shown(&of(1000, 100)).len(), 41);
    }
}
