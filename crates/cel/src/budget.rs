//! How much running expressions may cost.

use crate::EvalError;

/// What one expression may cost at most when it runs (v1.36: `PerCallLimit`).
pub const PER_CALL: u64 = 1_000_000;
/// What all rules of one custom resource may cost together in one request (`RuntimeCELCostBudget`).
pub const PER_REQUEST: u64 = 10_000_000;
/// What all conditions of one webhook may cost together (`RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS: u64 = 2_500_000;
/// The estimated cost that one expression of a schema may have (`StaticEstimatedCostLimit`).
pub const ESTIMATED_PER_EXPRESSION: u64 = 10_000_000;
/// The estimated cost that all expressions of one schema may have together (`StaticEstimatedCRDCostLimit`).
pub const ESTIMATED_PER_SCHEMA: u64 = 100_000_000;
/// The largest request, in bytes, that estimates reckon with.
pub const MAX_REQUEST_BYTES: i64 = 3 * 1024 * 1024;

/// What is left to spend: on one call, and on all calls together.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Left for all calls.
    left: u64,
    per_call: u64,
    spent_in_call: u64,
}

impl Budget {
    /// A budget of `total` cost units, of which one call may take [`PER_CALL`].
    pub fn new(total: u64) -> Self {
        Budget {
            left: total,
            per_call: PER_CALL,
            spent_in_call: 0,
        }
    }

    /// What is left for further calls.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the last call cost more than was left for all: its result does not count.
    pub fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn begin(&mut self) {
        self.spent_in_call = 0;
    }

    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent_in_call = self.spent_in_call.saturating_add(cost);
        if self.spent_in_call > self.per_call {
            return Err(EvalError::CostLimit);
        }
        Ok(())
    }

    /// Books the call on the whole; `false` if it cost more than was left.
    pub(crate) fn settle(&mut self) -> bool {
        match self.left.checked_sub(self.spent_in_call) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                false
            }
        }
    }
}
