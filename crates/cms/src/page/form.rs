//! The forms of the page, as the browser sends them.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::held::Word;

/// No form of ours is larger.
pub(super) const BYTES_MAX: usize = 4 * 1024;

/// What a form can say; nothing of it is believed yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) account: Option<usize>,
    pub(super) method: Option<Method>,
    pub(super) held: Option<String>,
    pub(super) word: Option<Word>,
    pub(super) key: String,
}

/// How to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Browser,
    Code,
}

/// Whether the body is said to be a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Reads a form. `None` if a field is there twice: then nobody can say which one was meant.
pub(super) fn parse(body: &[u8]) -> Option<Form> {
    let (mut account, mut method, mut held, mut word, mut key) = (None, None, None, None, None);
    for (name, value) in form_urlencoded::parse(body) {
        let field = match name.as_ref() {
            "account" => &mut account,
            "method" => &mut method,
            "held" => &mut held,
            "word" => &mut word,
            "key" => &mut key,
            _ => continue,
        };
        if field.replace(value).is_some() {
            return None;
        }
    }
    Some(Form {
        account: account.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok()),
        method: method.and_then(|method| match method.as_ref() {
            "browser" => Some(Method::Browser),
            "code" => Some(Method::Code),
            _ => None,
        }),
        held: held.map(Cow::into_owned),
        word: word.and_then(|word| match word.as_ref() {
            "apply" => Some(Word::Apply),
            "restore" => Some(Word::Restore),
            _ => None,
        }),
        key: key.unwrap_or_default().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_each_thing_once() {
        let form = parse(b"account=1&method=code&key=k%20k&other=x").unwrap();
        let expected = Form { account: Some(1), method: Some(Method::Code), key: "k k".to_owned(), ..Form::default() };
        assert_eq!(form, expected);
        let form = parse(b"held=ab&word=restore").unwrap();
        assert_eq!(form, Form { held: Some("ab".to_owned()), word: Some(Word::Restore), ..Form::default() });
        assert_eq!(parse(b"account=1&account=1"), None);
        assert_eq!(parse(b"key=a&key=b"), None);
        assert_eq!(parse(b"held=a&word=apply&word=restore"), None);
    }

    #[test]
    fn what_makes_no_sense_is_not_there() {
        for body in [
            &b""[..],
            b"account=-1",
            b"account=%2B1",
            b"account=",
            b"account=99999999999999999999999",
            b"account=1x",
            b"\xff\xfe=%ff%",
        ] {
            assert_eq!(parse(body).unwrap().account, None);
        }
        assert_eq!(parse(b"method=Browser").unwrap().method, None);
        assert_eq!(parse(b"word=delete").unwrap().word, None);
    }
}
