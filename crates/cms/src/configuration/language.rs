//! Evaluating the file, and turning what the interpreter finds wrong into errors for people.
//!
//! `cfg.listen = …` is written as an assignment to an attribute. The interpreter lets only values of a type of one's own
//! have such attributes, and declaring a type takes code that Rust can't check. So before evaluation the dot becomes an
//! underscore, which moves nothing in the file, and afterwards the variable `cfg_listen` is read.

use std::path::Path;
use std::sync::Mutex;

use starlark::ErrorKind;
use starlark::PrintHandler;
use starlark::codemap::{FileSpan, Span};
use starlark::environment::{FrozenModule, GlobalsBuilder, LibraryExtension, Module};
use starlark::eval::Evaluator;
use starlark::syntax::ast::{ArgumentP, AssignTargetP, AstExprP, AstNoPayload, AstStmtP, ExprP, StmtP};
use starlark::syntax::{AstModule, Dialect};
use starlark::values::OwnedFrozenValue;
use starlark::values::any::StarlarkAny;

use super::error::{Argument, ConfigurationError, Position, Refusal, did_you_mean};
use super::functions::{self, Draft, SharedDraft};
use super::options;
use super::paths::Surroundings;

type Stmt = AstStmtP<AstNoPayload>;
type Expr = AstExprP<AstNoPayload>;
type Target = AssignTargetP<AstNoPayload>;

/// What came out of the file.
pub(super) struct Evaluated {
    pub(super) draft: Draft,
    /// The options that were set, in no particular order.
    pub(super) settings: Vec<Setting>,
}

/// One `cfg.name = value`.
pub(super) struct Setting {
    pub(super) name: String,
    /// Where the value stands.
    pub(super) position: Position,
    pub(super) value: OwnedFrozenValue,
}

/// Sends what `print` writes to the log.
pub(super) struct PrintToLog;

impl PrintHandler for PrintToLog {
    fn println(&self, text: &str) -> starlark::Result<()> {
        tracing::info!(text, "Printed by the configuration");
        Ok(())
    }
}

/// Runs the file from top to bottom.
pub(super) fn evaluate(file: &Path, text: &str, surroundings: Surroundings) -> Result<Evaluated, ConfigurationError> {
    let name = file.display().to_string();
    // Parsed once to find the options, and once more with their names made variables. Positions are the same in both.
    let written = parse(&name, text)?;
    let survey = Survey::of(&written);
    let assignments = survey.assignments()?;
    let ast = parse(&name, &with_variables(text, &assignments))?;

    let draft: SharedDraft = StarlarkAny::new(Mutex::new(Draft::new(surroundings)));
    let module = Module::with_temp_heap(|module| -> starlark::Result<FrozenModule> {
        let globals = GlobalsBuilder::extended_by(&[LibraryExtension::Print]).with(functions::register).build();
        {
            let mut eval = Evaluator::new(&module);
            eval.extra = Some(&draft);
            eval.set_print_handler(&PrintToLog);
            eval.eval_module(ast, &globals)?;
        }
        Ok(module.freeze()?)
    })
    .map_err(|error| explain(&Position::start_of(file), &error, Some(&survey)))?;

    let mut settings: Vec<Setting> = Vec::new();
    for assignment in &assignments {
        // Absent if the line stands in an `if` that wasn't taken.
        let Ok(Some(value)) = module.get_option(&assignment.variable) else { continue };
        // Set twice, an option has its last value.
        settings.retain(|setting| setting.name != assignment.name);
        settings.push(Setting { name: assignment.name.clone(), position: assignment.value_position.clone(), value });
    }
    let draft = draft.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Evaluated { draft, settings })
}

fn parse(name: &str, text: &str) -> Result<AstModule, ConfigurationError> {
    let dialect = Dialect {
        enable_load: false,
        enable_top_level_stmt: true,
        enable_f_strings: true,
        enable_keyword_only_arguments: true,
        ..Dialect::Standard
    };
    AstModule::parse(name, text.to_owned(), &dialect)
        .map_err(|error| explain(&Position::start_of(Path::new(name)), &error, None))
}

/// Puts an underscore where the dot of each `cfg.name = …` is.
fn with_variables(text: &str, assignments: &[Assignment]) -> String {
    let mut text = text.to_owned();
    for assignment in assignments {
        text.replace_range(assignment.dot..=assignment.dot, "_");
    }
    text
}

/// One place that sets an option.
struct Assignment {
    name: String,
    variable: String,
    /// Where the dot is, in bytes.
    dot: usize,
    value_position: Position,
}

/// The file's syntax, for what the interpreter doesn't tell.
struct Survey<'a> {
    ast: &'a AstModule,
}

impl<'a> Survey<'a> {
    fn of(ast: &'a AstModule) -> Self {
        Self { ast }
    }

    fn position(&self, span: Span) -> Position {
        position(&self.ast.file_span(span))
    }

    /// Finds all places that set an option, in the order of the file.
    fn assignments(&self) -> Result<Vec<Assignment>, ConfigurationError> {
        let mut found = Vec::new();
        self.find_assignments(self.ast.statement(), false, &mut found)?;
        Ok(found)
    }

    fn find_assignments(
        &self,
        stmt: &Stmt,
        in_function: bool,
        found: &mut Vec<Assignment>,
    ) -> Result<(), ConfigurationError> {
        match &stmt.node {
            StmtP::Assign(assign) => {
                if let Some((target, name)) = option_name(&assign.lhs.node) {
                    let at = self.position(assign.lhs.span);
                    found.push(self.assignment(target, name, at, in_function, assign.rhs.span)?);
                }
            }
            StmtP::AssignModify(target, ..) => {
                if let Some((_, name)) = option_name(&target.node) {
                    return Err(Refusal::new(format!("`cfg.{}` can only be set as a whole", name.node))
                        .hint(format!("write `cfg.{} = …`", name.node))
                        .positioned(self.position(target.span)));
                }
            }
            _ => {}
        }
        let in_function = in_function || matches!(stmt.node, StmtP::Def(_));
        let mut result = Ok(());
        stmt.visit_stmt(|child| {
            if result.is_ok() {
                result = self.find_assignments(child, in_function, found);
            }
        });
        result
    }

    fn assignment(
        &self,
        target: &Expr,
        name: &starlark::codemap::Spanned<String>,
        at: Position,
        in_function: bool,
        value: Span,
    ) -> Result<Assignment, ConfigurationError> {
        if !options::NAMES.contains(&name.node.as_str()) {
            let hint = did_you_mean(&name.node, options::NAMES).unwrap_or_else(|| {
                format!("the options are {}", options::NAMES.map(|name| format!("`{name}`")).join(", "))
            });
            return Err(Refusal::new(format!("`cfg.{}` is not known", name.node)).hint(hint).positioned(at));
        }
        if in_function {
            return Err(Refusal::new(format!("`cfg.{}` can't be set inside a function", name.node))
                .hint("set it at the top level of the file")
                .positioned(at));
        }
        let dot = target.span.end().get() as usize;
        if dot + 1 != name.span.begin().get() as usize {
            return Err(Refusal::new("there must be nothing around the dot")
                .hint(format!("write `cfg.{}`", name.node))
                .positioned(at));
        }
        Ok(Assignment {
            name: name.node.clone(),
            variable: format!("cfg_{}", name.node),
            dot,
            value_position: self.position(value),
        })
    }

    /// Where an argument of the call at `span` stands.
    fn argument(&self, span: Span, argument: &Argument) -> Option<Position> {
        let mut found = None;
        self.ast.statement().visit_expr(|expr| find_argument(expr, span, argument, &mut found));
        found.map(|span| self.position(span))
    }

    /// The names that the file gives at its top level.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.ast.statement().visit_stmt(|stmt| match &stmt.node {
            StmtP::Assign(assign) => assign.lhs.visit_lvalue(|name| names.push(name.node.ident.clone())),
            StmtP::Def(def) => names.push(def.name.node.ident.clone()),
            _ => {}
        });
        names
    }
}

fn option_name(target: &Target) -> Option<(&Expr, &starlark::codemap::Spanned<String>)> {
    let AssignTargetP::Dot(object, name) = target else { return None };
    matches!(&object.node, ExprP::Identifier(identifier) if identifier.node.ident == "cfg").then_some((object, name))
}

fn find_argument(expr: &Expr, call: Span, wanted: &Argument, found: &mut Option<Span>) {
    if let ExprP::Call(_, arguments) = &expr.node
        && expr.span == call
    {
        *found = match wanted {
            Argument::Positional(index) => arguments
                .args
                .iter()
                .filter(|argument| matches!(argument.node, ArgumentP::Positional(_)))
                .nth(*index)
                .map(|argument| argument.span),
            Argument::Named(name) => arguments
                .args
                .iter()
                .find(|argument| argument.node.name() == Some(name.as_str()))
                .map(|argument| argument.span),
        };
        return;
    }
    expr.visit_expr(|child| find_argument(child, call, wanted, found));
}

/// Where a span begins.
pub(super) fn position(span: &FileSpan) -> Position {
    let begin = span.resolve_span().begin;
    Position { file: span.file.filename().to_owned(), line: begin.line + 1, column: begin.column + 1 }
}

/// Turns an error of the interpreter into one for people. What has no place of its own is told at `otherwise`.
pub(super) fn explain_at(otherwise: &Position, error: &starlark::Error) -> ConfigurationError {
    explain(otherwise, error, None)
}

/// As [`explain_at`], for the file that is being evaluated, in which arguments of calls can be found.
fn explain(otherwise: &Position, error: &starlark::Error, survey: Option<&Survey<'_>>) -> ConfigurationError {
    let span = error.span();
    let at = span.map_or_else(|| otherwise.clone(), position);
    if let ErrorKind::Native(native) = error.kind()
        && let Some(refusal) = native.downcast_ref::<Refusal>()
    {
        let argument = refusal
            .argument
            .as_ref()
            .and_then(|argument| survey.zip(span).and_then(|(survey, span)| survey.argument(span.span, argument)));
        return refusal.clone().positioned(argument.unwrap_or(at));
    }
    let text = error.without_diagnostic().to_string();
    let refusal = match error.kind() {
        ErrorKind::Scope(_) if text.starts_with("Variable `") && text.contains("not found") => {
            unknown_name(span.map_or("", |span| span.source_span()), survey)
        }
        ErrorKind::Fail(_) => Refusal::new(text.strip_prefix("fail: ").unwrap_or(&text)),
        ErrorKind::Parser(_) => syntax(text.strip_prefix("Parse error: ").unwrap_or(&text)),
        _ => syntax(&text),
    };
    refusal.positioned(at)
}

fn unknown_name(name: &str, survey: Option<&Survey<'_>>) -> Refusal {
    if name == "cfg" {
        return Refusal::new("the options in `cfg` can be set, but not read").hint("give the value a name of its own");
    }
    let own = survey.map(Survey::names).unwrap_or_default();
    let known = functions::FUNCTIONS.into_iter().chain(["True", "False", "None", "cfg"]);
    let hint = did_you_mean(name, known.chain(own.iter().map(String::as_str)));
    Refusal::new(format!("`{name}` is not known")).maybe_hint(hint)
}

fn syntax(text: &str) -> Refusal {
    let hint = if text.contains("tabs are not allowed") {
        Some("indent with spaces")
    } else if text.contains("`load` is not allowed") {
        Some("a configuration is one file; write everything into it")
    } else if text.contains("reserved keyword `import`") {
        Some("the file is Starlark, a small dialect of Python without modules")
    } else {
        None
    };
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    Refusal::new(first.into_iter().chain(chars).collect::<String>()).maybe_hint(hint.map(str::to_owned))
}
