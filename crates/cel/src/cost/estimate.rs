//! Ranges of costs and sizes.

/// What something costs at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CostEstimate {
    pub min: u64,
    pub max: u64,
}

/// How large something is at least and at most.
pub(super) type Size = CostEstimate;

impl CostEstimate {
    pub const fn fixed(n: u64) -> Self {
        CostEstimate { min: n, max: n }
    }

    pub const UNKNOWN: CostEstimate = CostEstimate {
        min: 0,
        max: u64::MAX,
    };

    pub fn plus(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub fn times(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// Times a factor, rounded up.
    pub fn scaled(self, factor: f64) -> Self {
        CostEstimate {
            min: scaled(self.min, factor),
            max: scaled(self.max, factor),
        }
    }

    /// What covers both.
    pub fn union(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

fn scaled(n: u64, factor: f64) -> u64 {
    // A float that is too large becomes the largest number.
    (n as f64 * factor).ceil() as u64
}
