//! The second round of the mutating pass: when a webhook or policy changed an object, plugins run once more, and so do those
//! that asked for it and were asked before the change.

use std::{collections::HashSet, sync::Arc};

use knarr_json::Value;

/// What is known across the rounds of one request, for one kind of asker (webhooks, or policies).
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    second: bool,
    wanted: bool,
    /// Asked in this round, and willing to be asked again.
    willing: HashSet<Arc<str>>,
    /// To be asked in the second round.
    again: HashSet<Arc<str>>,
    /// The object as it was when the last one had been asked.
    left: Option<Value>,
}

impl Reinvocation {
    /// Whether the pass has to run again; only once.
    pub fn wanted(&self) -> bool {
        self.wanted && !self.second
    }

    pub fn start_second(&mut self) {
        self.second = true;
    }

    /// 0 or 1.
    pub fn number(&self) -> u8 {
        self.second.into()
    }

    /// Whether one is asked in this round: everyone in the first, in the second only who saw an older object.
    pub fn asks(&self, uid: &str) -> bool {
        !self.second || self.again.contains(uid)
    }

    /// One that was just asked would be asked again.
    pub fn may_ask_again(&mut self, uid: &Arc<str>) {
        self.willing.insert(uid.clone());
    }

    /// One changed the object: who was asked before it has seen an older one.
    pub fn changed(&mut self) {
        self.again.extend(self.willing.drain());
        self.wanted = true;
    }

    /// The second round begins for these askers: plugins may have changed the object in between.
    pub fn resume(&mut self, object: &Value) {
        if self.second && self.left.as_ref().is_some_and(|left| left != object) {
            self.again.extend(self.willing.drain());
        }
    }

    /// The first round ends for these askers.
    pub fn leave(&mut self, object: &Value) {
        if !self.second && !self.willing.is_empty() {
            self.left = Some(object.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn who_saw_an_older_object_is_asked_again() {
        let mut round = Reinvocation::default();
        let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        round.may_ask_again(&a);
        round.changed();
        round.may_ask_again(&b);
        round.leave(&json!(1));
        assert!(round.wanted() && round.asks(&c));
        round.start_second();
        round.resume(&json!(1));
        assert!(round.asks(&a) && !round.asks(&b) && !round.asks(&c));
        round.resume(&json!(2));
        assert!(round.asks(&b) && !round.asks(&c) && !round.wanted());
    }

    #[test]
    fn nothing_changed_means_one_round() {
        let mut round = Reinvocation::default();
        round.may_ask_again(&"a".into());
        assert!(!round.wanted());
    }
}
