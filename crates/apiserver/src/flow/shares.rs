//! How the server's seats are divided among priority levels, and lent from those that do not need theirs.

use std::sync::Arc;

use super::level::Level;

/// What a level's object says of its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub shares: u32,
    pub lendable_percent: u32,
    /// None may borrow without a limit.
    pub borrowing_percent: Option<u32>,
}

/// Seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub nominal: u32,
    /// What it keeps when others borrow.
    pub least: u32,
    /// What it has at most when it borrows.
    pub most: u32,
}

/// Divides `seats` by shares.
pub fn bounds(shares: &[Share], seats: u32) -> Vec<Bounds> {
    let sum: u64 = shares.iter().map(|s| u64::from(s.shares)).sum();
    let percent = |of: u32, percent: u32| {
        let value = (f64::from(of) * f64::from(percent) / 100.0).round();
        value.min(f64::from(u32::MAX)) as u32
    };
    let one = |share: &Share| {
        let nominal = match sum {
            0 => 0,
            sum => (u64::from(seats) * u64::from(share.shares)).div_ceil(sum),
        };
        let nominal = u32::try_from(nominal).unwrap_or(u32::MAX);
        let least = nominal.saturating_sub(percent(nominal, share.lendable_percent));
        let most = match share.borrowing_percent {
            None => u32::MAX,
            Some(limit) => nominal.saturating_add(percent(nominal, limit)),
        };
        Bounds {
            nominal,
            least,
            most,
        }
    };
    shares.iter().map(one).collect()
}

/// Gives each level seats by what it needed since the last time.
pub fn adjust(levels: &[Arc<Level>], seats: u32) {
    let limited: Vec<&Arc<Level>> = levels.iter().filter(|l| !l.exempt()).collect();
    let wanted: Vec<(Bounds, u32)> = limited
        .iter()
        .map(|l| (l.bounds(), l.take_demand()))
        .collect();
    for (level, limit) in limited.iter().zip(divide(&wanted, seats)) {
        level.set_limit(limit);
    }
}

/// Each gets what it needs between its bounds; what is left goes to those that may borrow, by their nominal seats. When
/// that is too much together, nobody falls below what it keeps. Pure.
pub fn divide(wanted: &[(Bounds, u32)], seats: u32) -> Vec<u32> {
    let total: u64 = u64::from(seats).max(wanted.iter().map(|(b, _)| u64::from(b.nominal)).sum());
    let mut given: Vec<u32> = wanted
        .iter()
        .map(|(b, need)| (*need).max(b.least).min(b.nominal))
        .collect();
    let mut left = total.saturating_sub(given.iter().map(|g| u64::from(*g)).sum());
    // First those in need, then everybody up to the nominal seats: what nobody needs serves who comes next.
    for by_need in [true, false] {
        loop {
            let cap = |n: usize| {
                let (b, need) = wanted[n];
                if by_need { need.min(b.most) } else { b.nominal }
            };
            let open: Vec<usize> = (0..given.len()).filter(|n| given[*n] < cap(*n)).collect();
            let weights: u64 = open
                .iter()
                .map(|n| u64::from(wanted[*n].0.nominal.max(1)))
                .sum();
            if open.is_empty() || left == 0 {
                break;
            }
            let round = left;
            for n in open {
                let weight = u64::from(wanted[n].0.nominal.max(1));
                let part = (round * weight / weights).max(1).min(left);
                let part = part.min(u64::from(cap(n) - given[n]));
                given[n] += u32::try_from(part).unwrap_or(u32::MAX);
                left -= part;
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(shares: u32, lendable_percent: u32, borrowing_percent: Option<u32>) -> Share {
        Share {
            shares,
            lendable_percent,
            borrowing_percent,
        }
    }

    #[test]
    fn seats_are_divided_by_shares() {
        let got = bounds(
            &[
                share(30, 50, None),
                share(10, 0, Some(50)),
                share(0, 0, None),
            ],
            600,
        );
        let shown: Vec<_> = got.iter().map(|b| (b.nominal, b.least, b.most)).collect();
        assert_eq!(
            shown,
            [(450, 225, u32::MAX), (150, 150, 225), (0, 0, u32::MAX)]
        );
    }

    #[test]
    fn idle_seats_are_lent() {
        let b = |nominal, least, most| Bounds {
            nominal,
            least,
            most,
        };
        // bounds and need of each, what each gets
        type Wanted<'a> = &'a [(Bounds, u32)];
        let table: [(Wanted<'_>, &[u32]); 4] = [
            (&[(b(50, 25, 100), 0), (b(50, 50, 100), 0)], &[50, 50]),
            (&[(b(50, 25, 100), 0), (b(50, 50, 100), 90)], &[25, 75]),
            (&[(b(50, 25, 100), 40), (b(50, 50, 100), 90)], &[40, 60]),
            (&[(b(50, 0, 50), 0), (b(50, 50, 60), 500)], &[40, 60]),
        ];
        for (wanted, want) in table {
            assert_eq!(divide(wanted, 100), want, "{wanted:?}");
        }
    }
}
