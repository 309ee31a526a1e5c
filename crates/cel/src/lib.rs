//! CEL as Kubernetes v1.36 uses it: parsing, checking against declared types, estimated cost, evaluation within a budget,
//! the libraries that v1.36 enables, and the rules of schemas (`x-kubernetes-validations`).
//!
//! ```ignore
//! let schema = Schema::new(&json, true, "selfType");
//! let env = Env::new().with_schema("self", &schema).with_schema("oldSelf", &schema);
//! let program = compile("self.spec.low <= self.spec.high", &env)?;
//! let mut budget = Budget::new(budget::PER_REQUEST);
//! let activation = Activation::new().with("self", Value::typed(&object, &schema));
//! let value = program.evaluate(&activation, &mut budget)?;
//! ```
//!
//! No expression and no value makes this crate panic, overflow the stack or run without an end.

pub mod budget;
mod env;
mod error;
mod escape;
pub mod rules;
mod schema;
mod types;

pub use budget::Budget;
pub use env::Env;
pub use error::{CompileErrors, EvalError, Issue};
pub use escape::escape;
pub use schema::Schema;
pub use types::{ObjectType, Param, Type};
