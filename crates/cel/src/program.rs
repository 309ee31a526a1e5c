//! Expressions that are ready to run.

use crate::{
    Activation, Budget, CompileErrors, Env, EvalError, Type, Value,
    ast::Expr,
    check::{self, Checked},
    cost::{self, CostEstimate},
    deep,
    eval::{Node, Run, plan},
    parse,
};

/// An expression that has been compiled.
#[derive(Debug)]
pub struct Program {
    source: String,
    result: Type,
    variables: Vec<String>,
    cost: CostEstimate,
    node: Node,
    /// How deep the tree is.
    depth: usize,
}

/// Compiles an expression.
///
/// # Errors
/// Everything that is wrong with it, worded as the original words it.
pub fn compile(source: &str, env: &Env) -> Result<Program, CompileErrors> {
    deep::run(deep::of_text(source), || compile_here(source, env)).unwrap_or_else(|| {
        Err(CompileErrors {
            issues: Vec::new(),
            source: source.to_owned(),
        })
    })
}

fn compile_here(source: &str, env: &Env) -> Result<Program, CompileErrors> {
    let ast = parse::parse(source)?;
    let depth = depth(&ast.root);
    let checked = check::check(ast, source, env)?;
    Ok(Program {
        source: source.to_owned(),
        result: checked.ty(checked.root.id).clone(),
        cost: cost::estimate(&checked, env),
        variables: checked.variables.clone(),
        node: plan(&checked),
        depth,
    })
    .inspect(|_| drop_checked(checked))
}

/// Deep trees are taken down where there is room to.
fn drop_checked(checked: Checked) {
    drop(checked);
}

fn depth(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
}

impl Program {
    /// The expression's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of what it gives.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Whether it uses the declared variable `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.variables.iter().any(|v| v == name)
    }

    /// What it may cost, by the sizes that schemas declare.
    pub fn cost(&self) -> CostEstimate {
        self.cost
    }

    /// Runs the expression. One call costs no more than [`crate::budget::PER_CALL`]; what it cost is taken from the budget,
    /// also when it fails. Look at [`Budget::is_exhausted`] afterwards: then the result does not count.
    ///
    /// # Errors
    /// What went wrong, worded as the original words it.
    pub fn evaluate<'a>(
        &self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        budget.begin();
        let answer = self.evaluate_within(activation, budget);
        budget.settle();
        answer
    }

    /// Runs the expression as a part of another call.
    ///
    /// # Errors
    /// What went wrong.
    pub fn evaluate_within<'a>(
        &self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        deep::run(self.depth, || Run::new(activation, budget).eval(&self.node))
            .unwrap_or_else(|| Err(EvalError::other("out of threads")))
    }
}
