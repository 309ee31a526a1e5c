//! CEL as Kubernetes v1.36 uses it: parsing, checking against declared types, estimated cost, evaluation within a budget,
//! the libraries that v1.36 enables, and the rules of schemas (`x-kubernetes-validations`).
//!
//! ```
//! use knarr_cel::{Activation, Budget, Env, Schema, Value, budget, compile};
//! use knarr_json::json;
//!
//! let schema = json!({"type": "object", "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}}});
//! let schema = Schema::new(&schema, false, "selfType");
//! let env = Env::new().with_schema("self", &schema);
//! let program = compile("self.low <= self.high", &env).unwrap();
//! let object = json!({"low": 1, "high": 2});
//! let activation = Activation::new().with("self", Value::typed(&object, &schema));
//! let mut budget = Budget::new(budget::PER_REQUEST);
//! assert_eq!(program.evaluate(&activation, &mut budget).unwrap().as_bool(), Some(true));
//! ```
//!
//! No expression and no value makes this crate panic, overflow the stack or run without an end.

mod activation;
pub mod admission;
mod ast;
pub mod authorizer;
pub mod budget;
mod check;
mod cost;
mod deep;
pub mod device;
mod env;
mod error;
mod escape;
mod eval;
mod functions;
mod library;
mod parse;
mod program;
pub mod rules;
mod schema;
mod types;
mod value;

pub use activation::{Activation, Fields};
pub use budget::Budget;
pub use cost::CostEstimate;
pub use env::Env;
pub use error::{CompileErrors, EvalError, Issue};
pub use escape::escape;
pub use program::{Program, compile};
pub use schema::Schema;
pub use types::{ObjectType, Param, Type};
pub use value::{Key, List, Map, Object, Opaque, Text, Value};
