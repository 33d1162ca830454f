//! Asking `cfg.direct_message` where a message belongs.

use std::sync::LazyLock;

use starlark::environment::{FrozenModule, Globals, GlobalsBuilder, Module};
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::none::NoneOr;
use starlark::values::structs::AllocStruct;
use starlark::values::{OwnedFrozenValue, Value};

use super::error::{ConfigurationError, Position, Refusal};
use super::functions::{as_maildir, describe};
use super::header;
use super::language::{PrintToLog, explain_at};

/// The user's function. It can be called from any thread.
#[derive(Debug)]
pub(super) struct Router {
    function: OwnedFrozenValue,
    /// Where `cfg.direct_message` is set.
    position: Position,
}

/// How long the function may run, in steps of the interpreter: it must not keep the mail waiting for ever.
const STEPS_MAX: u64 = 10_000_000;

impl Router {
    pub(super) fn new(function: OwnedFrozenValue, position: Position) -> Self {
        Self { function, position }
    }

    /// Calls the function for one message.
    pub(super) fn route(&self, mailbox: &str, header: &[u8], flags: &str) -> Result<usize, ConfigurationError> {
        let header = header.to_vec();
        let answer = Module::with_temp_heap(|module| -> starlark::Result<Result<usize, String>> {
            let heap = module.heap();
            let get_header = heap.access_owned_frozen_value(&MESSAGE_FUNCTIONS.get("get_header")?);
            let message = heap.alloc(AllocStruct([
                ("mailbox", heap.alloc(mailbox)),
                ("flags", heap.alloc(flags)),
                ("get_header", get_header),
            ]));
            let function = heap.access_owned_frozen_value(&self.function);
            let mut eval = Evaluator::new(&module);
            eval.extra = Some(&header);
            eval.set_print_handler(&PrintToLog);
            eval.set_max_tick_count(STEPS_MAX)?;
            let answer = eval.eval_function(function, &[message], &[])?;
            Ok(as_maildir(answer).ok_or_else(|| describe(answer)))
        });
        match answer {
            Ok(Ok(maildir)) => Ok(maildir),
            Ok(Err(other)) => Err(Refusal::new(format!("`cfg.direct_message` must return a `MailDir`, not {other}"))
                .hint("make sure that every way through the function ends in a `return` of a `MailDir`")
                .positioned(self.position.clone())),
            Err(error) => Err(with_hint(explain_at(&self.position, &error))),
        }
    }
}

fn with_hint(error: ConfigurationError) -> ConfigurationError {
    match error {
        ConfigurationError::Wrong { position, what, hint: None } if what.contains("`struct` has no attribute") => {
            let what = what.replace("object of type `struct`", "a message");
            let hint = Some("a message has `mailbox`, `flags` and `get_header(name)`".to_owned());
            ConfigurationError::Wrong { position, what, hint }
        }
        other => other,
    }
}

/// What a message can do, as a module, so that a function can be taken out of it.
static MESSAGE_FUNCTIONS: LazyLock<FrozenModule> = LazyLock::new(|| {
    let globals: Globals = GlobalsBuilder::new().with(register).build();
    #[allow(clippy::expect_used)]
    // Everything in a `Globals` is frozen already.
    FrozenModule::from_globals(&globals).expect("globals become a module")
});

#[allow(clippy::unnecessary_wraps)]
#[starlark_module]
fn register(globals: &mut GlobalsBuilder) {
    /// Returns the value of a header field, or `None`.
    fn get_header<'v>(
        #[starlark(require = pos)] name: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<NoneOr<String>> {
        let Some(name) = name.unpack_str() else {
            let given = describe(name);
            return Err(Refusal::new(format!("`get_header` takes a field's name, not {given}"))
                .hint("write `msg.get_header(\"List-ID\")`")
                .into());
        };
        let header = eval.extra.and_then(|extra| extra.downcast_ref::<Vec<u8>>());
        Ok(NoneOr::from_option(header.and_then(|header| header::value(header, name))))
    }
}
