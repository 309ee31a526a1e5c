//! Selectors: which objects a list, a watch or a controller means.
//!
//! [`LabelSelector`] comes from a query (`labelSelector=app in (a,b)`) or from an object (`spec.selector`);
//! [`FieldSelector`] from a query (`fieldSelector=spec.nodeName=n1`).

pub mod fields;
pub mod labels;
mod lexer;
mod parser;

pub use fields::FieldSelector;
pub use labels::{LabelSelector, Operator, Requirement};
