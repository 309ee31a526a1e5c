//! What calls may cost.

use super::{CostEstimate, Coster, Entries, ONE, estimate::Size};
use crate::{
    Type,
    ast::{Expr, Kind, Literal},
    library::format::LONGEST_REGEX,
};

const TEXT: f64 = 0.1;
const REGEX: f64 = 0.25;

/// Cost of a call without that of its arguments, and the size of what it gives.
struct Estimate {
    cost: CostEstimate,
    size: Option<Size>,
}

fn only(cost: CostEstimate) -> Option<Estimate> {
    Some(Estimate { cost, size: None })
}

fn sized(cost: CostEstimate, size: Size) -> Option<Estimate> {
    Some(Estimate {
        cost,
        size: Some(size),
    })
}

fn matching(text: Size, pattern: Size) -> CostEstimate {
    text.plus(ONE).scaled(TEXT).times(pattern.scaled(REGEX))
}

impl Coster<'_> {
    pub(super) fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> CostEstimate {
        if let ("dyn", [arg]) = (function, args) {
            let cost = ONE.plus(self.cost(arg));
            self.copy_sizes(expr.id, arg);
            return cost;
        }
        let costs: Vec<CostEstimate> = args.iter().map(|a| self.cost(a)).collect();
        let overloads = self.checked.overloads(expr.id).to_vec();
        if overloads.is_empty() {
            return CostEstimate::default();
        }
        let sum = target.map_or(CostEstimate::default(), |t| self.cost(t));
        let mut cost = CostEstimate {
            min: u64::MAX,
            max: 0,
        };
        let mut size: Option<Size> = None;
        for overload in overloads {
            let estimate = self.overload(expr, function, overload, target, args, &costs);
            cost = cost.union(estimate.cost);
            size = match (size, estimate.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if let Some(first) = args.first() {
                let step = match overload {
                    "index_list" => Some("@items"),
                    "index_map" => Some("@values"),
                    _ => None,
                };
                if let Some(step) = step {
                    size = self.entries(first).map(|e| e.value);
                    let mut path = self.path(first);
                    path.push(step.to_owned());
                    self.paths.insert(expr.id, path);
                }
            }
            size = size.or_else(|| self.size(expr));
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[CostEstimate],
    ) -> Estimate {
        let paid = costs
            .iter()
            .fold(CostEstimate::default(), |a, b| a.plus(*b));
        let library = self
            .sets(overload, args)
            .or_else(|| self.library(function, overload, target, args));
        if let Some(estimate) = library {
            let cost = estimate.cost.plus(paid);
            return Estimate { cost, ..estimate };
        }
        if let ("logical_and" | "logical_or", [left, right]) = (overload, costs) {
            // The left side may decide.
            let cost = CostEstimate {
                min: left.min,
                max: left.plus(*right).max,
            };
            return Estimate { cost, size: None };
        }
        if let ("conditional", [_, then, otherwise], [test, a, b]) = (overload, args, costs) {
            let size = self
                .size_or_unknown(then)
                .union(self.size_or_unknown(otherwise));
            let entries = Entries::union(self.entries(then), self.entries(otherwise));
            if let Some(entries) = entries {
                self.entries.insert(expr.id, entries);
            }
            let cost = test.plus(a.union(*b));
            return Estimate {
                cost,
                size: Some(size),
            };
        }
        let estimate = self.standard(expr, overload, target, args);
        let estimate = estimate.unwrap_or(Estimate {
            cost: ONE,
            size: None,
        });
        Estimate {
            cost: estimate.cost.plus(paid),
            ..estimate
        }
    }

    fn standard(
        &mut self,
        expr: &Expr,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Option<Estimate> {
        let size = |i: usize| args.get(i).map(|a| self.size_or_unknown(a));
        match overload {
            "string_format" => only(self.size_or_unknown(target?).scaled(TEXT)),
            "string_to_bytes" => {
                let s = size(0)?;
                let bytes = Size {
                    min: s.min,
                    max: s.max.saturating_mul(4),
                };
                sized(s.scaled(TEXT), bytes)
            }
            "bytes_to_string" => {
                let s = size(0)?;
                sized(
                    s.scaled(TEXT),
                    Size {
                        min: s.min / 4,
                        max: s.max,
                    },
                )
            }
            "strings_quote" => {
                let s = size(0)?;
                let max = s.max.saturating_mul(2).saturating_add(2);
                sized(
                    s.scaled(TEXT),
                    Size {
                        min: s.min.saturating_add(2),
                        max,
                    },
                )
            }
            "starts_with_string" | "ends_with_string" => only(size(0)?.scaled(TEXT)),
            "in_list" => only(size(1)?.scaled(1.0)),
            "matches_string" => only(matching(self.size_or_unknown(target?), size(0)?)),
            "matches" => only(matching(size(0)?, size(1)?)),
            "contains_string" => {
                let text = self.size_or_unknown(target?).scaled(TEXT);
                only(text.times(size(0)?.scaled(TEXT)))
            }
            "add_string" | "add_bytes" | "add_list" => {
                let result = size(0)?.plus(size(1)?);
                let cost = if overload == "add_list" {
                    ONE
                } else {
                    result.scaled(TEXT)
                };
                let entries =
                    Entries::union(self.entries(args.first()?), self.entries(args.get(1)?));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                sized(cost, result)
            }
            _ if compares_by_size(overload) => {
                let most = size(0)?.max.min(size(1)?.max);
                let min = u64::from(most > 0);
                only(CostEstimate { min, max: most }.scaled(TEXT))
            }
            _ => None,
        }
    }

    fn sets(&self, overload: &str, args: &[Expr]) -> Option<Estimate> {
        let factor = match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => 1.0,
            "list_sets_equivalent_list" => 2.0,
            _ => return None,
        };
        let [a, b] = args else {
            return None;
        };
        let pairs = self.size_or_unknown(a).times(self.size_or_unknown(b));
        only(pairs.scaled(factor).plus(ONE))
    }

    /// The type and the declared size of what is in a list.
    fn element(&self, list: &Expr) -> Option<(Type, Option<Size>)> {
        let (Type::List(element) | Type::Map(element, _) | Type::Optional(element)) = self.ty(list)
        else {
            return None;
        };
        let mut path = self.path(list);
        let size = match path.is_empty() {
            true => None,
            false => {
                path.push("@items".to_owned());
                self.declared(&path)
            }
        };
        Some(((**element).clone(), size))
    }

    /// The libraries of Kubernetes.
    fn library(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Option<Estimate> {
        let size = |e: &Expr| self.size_or_unknown(e);
        match function {
            "check" => only(CostEstimate::fixed(350_000)),
            "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery" => only(ONE),
            "fieldSelector" | "labelSelector" => {
                let length = size(args.first()?);
                let requirements = length.scaled(0.5).scaled(50.0);
                only(
                    CostEstimate::fixed(10)
                        .plus(length.scaled(TEXT))
                        .plus(requirements),
                )
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => self.walk(target?),
            "url" | "jsonpatch.escapeKey" => {
                let s = size(args.first()?);
                sized(s.scaled(TEXT), s)
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                let s = size(target?);
                sized(s.scaled(TEXT), s)
            }
            "replace" => self.replace(target?, args),
            "split" => {
                let s = size(target?);
                let most = match args.get(1).map(|a| &a.kind) {
                    Some(Kind::Literal(Literal::Int(n))) => *n as u64,
                    _ => s.max,
                };
                sized(s.scaled(2.0 * TEXT), Size { min: 0, max: most })
            }
            "join" => self.join(target?, args),
            "find" | "findAll" => {
                let s = size(target?);
                sized(
                    matching(s, size(args.first()?)),
                    Size { min: 0, max: s.max },
                )
            }
            "ip" if target.is_some() => only(ONE),
            "validate" => {
                let s = size(args.first()?);
                only(s.scaled(TEXT).scaled(LONGEST_REGEX * REGEX))
            }
            "containsIP" | "containsCIDR" => self.network(function, overload, args),
            "_==_" => self.opaque_equality(args),
            _ => None,
        }
    }

    fn walk(&self, target: &Expr) -> Option<Estimate> {
        let count = self.size_or_unknown(target);
        let Some((ty, element)) = self.element(target) else {
            return only(count.scaled(TEXT));
        };
        let mut each = ONE;
        if matches!(ty, Type::String | Type::Bytes) {
            each = each.plus(element.unwrap_or(Size::UNKNOWN).scaled(TEXT));
        }
        only(count.times(each))
    }

    fn replace(&self, target: &Expr, args: &[Expr]) -> Option<Estimate> {
        let text = self.size_or_unknown(target);
        let old = self.size_or_unknown(args.first()?);
        let new = self.size_or_unknown(args.get(1)?);
        let (mut count, mut kept) = (Size::default(), Size::default());
        if old.min == 0 {
            count.max = text.max.saturating_add(1);
            kept.max = text.max;
        } else if new.max <= old.min {
            kept.max = text.max;
        } else {
            count.max = (text.max as f64 / old.min as f64).ceil() as u64;
        }
        if old.max == 0 {
            count.min = text.min.saturating_add(1);
            kept.min = text.min;
        } else if old.max <= new.min {
            kept.min = text.min;
        } else {
            count.min = (text.min as f64 / old.max as f64).ceil() as u64;
        }
        sized(text.scaled(2.0 * TEXT), count.times(new).plus(kept))
    }

    fn join(&self, target: &Expr, args: &[Expr]) -> Option<Estimate> {
        let count = self.size_or_unknown(target);
        let mut size = Size::default();
        if let Some((_, element)) = self.element(target) {
            size = count.times(element.unwrap_or(Size::UNKNOWN));
        }
        if let Some(separator) = args.first() {
            let separators = Size {
                min: count.min.saturating_sub(1),
                max: count.max.saturating_sub(1),
            };
            size = size.plus(self.size_or_unknown(separator).times(separators));
        }
        sized(size.scaled(TEXT), size)
    }

    fn network(&self, function: &str, overload: &str, args: &[Expr]) -> Option<Estimate> {
        let address = Size { min: 4, max: 16 };
        let mut cost = address.plus(address).scaled(TEXT);
        if function == "containsCIDR" {
            cost = cost.plus(address.scaled(TEXT)).plus(ONE);
        }
        if matches!(
            overload,
            "cidr_contains_ip_string" | "cidr_contains_cidr_string"
        ) {
            cost = cost.plus(self.size_or_unknown(args.first()?).scaled(TEXT));
        }
        only(cost)
    }

    fn opaque_equality(&self, args: &[Expr]) -> Option<Estimate> {
        let [a, b] = args else {
            return None;
        };
        match (self.ty(a), self.ty(b)) {
            (Type::Opaque(a), Type::Opaque(b)) if a == b => match *a {
                "kubernetes.NamedFormat" => only(CostEstimate { min: 1, max: 64 }.scaled(TEXT)),
                "kubernetes.URL" => only(ONE.scaled(TEXT)),
                _ => only(ONE),
            },
            _ => None,
        }
    }
}

fn compares_by_size(overload: &str) -> bool {
    matches!(
        overload,
        "equals"
            | "not_equals"
            | "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
    )
}
