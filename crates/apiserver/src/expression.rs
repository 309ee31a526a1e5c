//! Expressions (CEL) of configuration files over one variable whose value is JSON: match conditions, claim mappings.

use knarr_cel::{Activation, Budget, Env, Program, Type, budget, compile};
use knarr_json::Value;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression {
    variable: &'static str,
    program: Program,
}

impl Expression {
    /// Compiles an expression that sees `variable`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(source: &str, variable: &'static str) -> Result<Self, String> {
        let env = Env::new().with(variable, Type::Dyn);
        let program = compile(source, &env).map_err(|e| format!("compilation failed: {e}"))?;
        Ok(Expression { variable, program })
    }

    pub fn source(&self) -> &str {
        self.program.source()
    }

    /// # Errors
    /// Why it has no value.
    pub fn run(&self, value: &Value) -> Result<Value, String> {
        let value = knarr_cel::Value::untyped(value);
        let activation = Activation::new().with(self.variable, Ok(value));
        let mut budget = Budget::new(budget::PER_REQUEST);
        let answer = self.program.evaluate(&activation, &mut budget);
        answer
            .and_then(|value| value.to_json())
            .map_err(|error| error.to_string())
    }

    /// # Errors
    /// Why it has no value, or is neither true nor false.
    pub fn holds(&self, value: &Value) -> Result<bool, String> {
        match self.run(value)? {
            Value::Bool(yes) => Ok(yes),
            _ => Err(format!(
                "expression {:?} is neither true nor false",
                self.source()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Expression;
    use knarr_json::json;

    #[test]
    fn expressions_see_their_variable() {
        let claims = json!({"sub": "ada", "groups": ["a", "b"], "n": 3});
        let run = |source: &str| Expression::new(source, "claims").and_then(|e| e.run(&claims));
        assert_eq!(run("'oidc:' + claims.sub"), Ok(json!("oidc:ada")));
        assert_eq!(
            run("claims.groups.map(g, 'oidc:' + g)"),
            Ok(json!(["oidc:a", "oidc:b"]))
        );
        assert_eq!(run("claims.?email.orValue('')"), Ok(json!("")));
        assert_eq!(run("claims.email"), Err("no such key: email".into()));
        assert!(run("user.name").is_err_and(|e| e.contains("undeclared reference to 'user'")));
        let holds = |source: &str| Expression::new(source, "claims").and_then(|e| e.holds(&claims));
        assert_eq!(holds("claims.n > 2"), Ok(true));
        assert!(holds("claims.n").is_err());
    }
}
