//! The arguments of a call in the file, read by name and type. Starlark's own checks know nothing of what to write
//! instead.

use cms_cloud::contract::DeleteAction;
use starlark::values::Value;
use starlark::values::list::ListRef;

use super::error::{Argument, Refusal, did_you_mean};
use super::functions::describe;
use super::{Push, Upload};

/// What a function of the file takes.
pub(super) struct Signature {
    pub(super) function: &'static str,
    /// Those that may be given by position come first.
    pub(super) positional: &'static [&'static str],
    pub(super) named: &'static [&'static str],
    /// A call that works.
    pub(super) example: &'static str,
}

/// The arguments of one call.
pub(super) struct Arguments<'v> {
    signature: &'static Signature,
    given: Vec<(&'static str, Argument, Value<'v>)>,
}

impl Signature {
    /// Sorts the arguments of a call by name.
    pub(super) fn arguments<'v, 'a>(
        &'static self,
        positional: impl IntoIterator<Item = Value<'v>>,
        named: impl IntoIterator<Item = (&'a str, Value<'v>)>,
    ) -> Result<Arguments<'v>, Refusal> {
        let mut given: Vec<(&'static str, Argument, Value<'v>)> = Vec::new();
        for (index, value) in positional.into_iter().enumerate() {
            let Some(name) = self.positional.get(index) else {
                return Err(Refusal::new(format!("`{}` has too many arguments", self.function))
                    .hint(format!("write `{}`", self.example))
                    .at(Argument::Positional(index)));
            };
            given.push((name, Argument::Positional(index), value));
        }
        for (written, value) in named {
            let at = Argument::Named(written.to_owned());
            let known = self.positional.iter().chain(self.named);
            let Some(name) = known.clone().find(|name| **name == written) else {
                let hint = did_you_mean(written, known.copied()).unwrap_or_else(|| format!("write `{}`", self.example));
                return Err(Refusal::new(format!("`{}` has no argument `{written}`", self.function)).hint(hint).at(at));
            };
            if given.iter().any(|(other, ..)| other == name) {
                return Err(Refusal::new(format!("`{name}` is given twice to `{}`", self.function)).at(at));
            }
            given.push((name, at, value));
        }
        Ok(Arguments { signature: self, given })
    }
}

impl<'v> Arguments<'v> {
    /// An argument that must be there.
    pub(super) fn required(&self, name: &str) -> Result<(&Argument, Value<'v>), Refusal> {
        self.optional(name).ok_or_else(|| {
            Refusal::new(format!("`{}` needs {} `{name}`", self.signature.function, article(name)))
                .hint(format!("write `{}`", self.signature.example))
        })
    }

    /// An argument that may be absent or `None`.
    pub(super) fn optional(&self, name: &str) -> Option<(&Argument, Value<'v>)> {
        self.given
            .iter()
            .find(|(given, _, value)| *given == name && !value.is_none())
            .map(|(_, at, value)| (at, *value))
    }

    /// Text that must be there and not be empty.
    pub(super) fn text(&self, name: &str) -> Result<&'v str, Refusal> {
        let (at, value) = self.required(name)?;
        self.as_text(name, at, value)
    }

    /// Text that may be absent, but not empty.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'v str>, Refusal> {
        self.optional(name).map(|(at, value)| self.as_text(name, at, value)).transpose()
    }

    /// Text that may be absent, read further; a refusal is told at the argument.
    pub(super) fn optional_parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        let Some((at, value)) = self.optional(name) else { return Ok(None) };
        let text = self.as_text(name, at, value)?;
        parse(text).map(Some).map_err(|refusal| refusal.at(at.clone()))
    }

    /// What becomes in the cloud of what is deleted here.
    pub(super) fn delete_action(&self) -> Result<DeleteAction, Refusal> {
        let choices =
            [("trash", DeleteAction::Trash), ("archive", DeleteAction::Archive), ("purge", DeleteAction::Purge)];
        Ok(self.choice("delete_action", &choices)?.unwrap_or_default())
    }

    /// How changes in the cloud are heard of.
    pub(super) fn push(&self) -> Result<Push, Refusal> {
        let choices = [("auto", Push::Auto), ("poll", Push::Poll), ("stream", Push::Stream)];
        Ok(self.choice("push", &choices)?.unwrap_or_default())
    }

    /// Which files are made messages of.
    pub(super) fn upload(&self) -> Result<Upload, Refusal> {
        let choices = [("drafts", Upload::Drafts), ("import", Upload::Import), ("none", Upload::None)];
        Ok(self.choice("upload", &choices)?.unwrap_or_default())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        self.optional_parsed(name, |written| {
            choices.iter().find(|(word, _)| *word == written).map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                Refusal::new(format!("`{name}` can't be \"{written}\""))
                    .hint(format!("write one of {}", words.join(", ")))
            })
        })
    }

    /// A whole number above zero.
    pub(super) fn optional_count(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some((at, value)) = self.optional(name) else { return Ok(None) };
        let count = value.unpack_i32().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        let wrong = || {
            Refusal::new(format!("the `{name}` of `{}` must be a whole number above 0", self.signature.function))
                .at(at.clone())
        };
        count.map(Some).ok_or_else(wrong)
    }

    /// `True` or `False`.
    pub(super) fn optional_switch(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some((at, value)) = self.optional(name) else { return Ok(None) };
        let wrong = || {
            Refusal::new(format!("the `{name}` of `{}` must be `True` or `False`", self.signature.function))
                .at(at.clone())
        };
        value.unpack_bool().map(Some).ok_or_else(wrong)
    }

    /// A list of texts that isn't empty.
    pub(super) fn optional_texts(&self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let Some((at, value)) = self.optional(name) else { return Ok(None) };
        let wrong = || {
            Refusal::new(format!(
                "the `{name}` of `{}` must be a list of strings, not {}",
                self.signature.function,
                describe(value)
            ))
            .at(at.clone())
        };
        let list = ListRef::from_value(value).filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        list.iter().map(|one| self.as_text(name, at, one).map(str::to_owned)).collect::<Result<_, _>>().map(Some)
    }

    fn as_text(&self, name: &str, at: &Argument, value: Value<'v>) -> Result<&'v str, Refusal> {
        let wrong =
            |what: String| Refusal::new(what).hint(format!("write `{}`", self.signature.example)).at(at.clone());
        match value.unpack_str() {
            Some("") => Err(wrong(format!("the `{name}` of `{}` must not be empty", self.signature.function))),
            Some(text) => Ok(text),
            None => Err(wrong(format!(
                "the `{name}` of `{}` must be a string, not {}",
                self.signature.function,
                describe(value)
            ))),
        }
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" }
}
