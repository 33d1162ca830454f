//! The name of this machine, as it may stand in a base name.

/// Returns the machine's node name with `/` written as `\057` and `:` as `\072`, as maildir(5) asks for.
///
/// Control characters and blanks, which no file name needs, become `_`; a machine without a name is `localhost`.
pub fn host_name() -> String {
    sanitised(&rustix::system::uname().nodename().to_string_lossy())
}

fn sanitised(host: &str) -> String {
    if host.is_empty() {
        return "localhost".to_owned();
    }
    host.chars().fold(String::with_capacity(host.len()), |mut name, letter| {
        match letter {
            '/' => name.push_str("\\057"),
            ':' => name.push_str("\\072"),
            letter if letter.is_control() || letter.is_whitespace() => name.push('_'),
            letter => name.push(letter),
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_stand_in_a_base_name_is_written_otherwise() {
        assert_eq!(sanitised("a/b:c"), "a\\057b\\072c");
        assert_eq!(sanitised("two words"), "two_words");
        assert_eq!(sanitised(""), "localhost");
        assert_eq!(sanitised("mail.example.org"), "mail.example.org");
    }

    #[test]
    fn this_machine_has_a_usable_name() {
        let host = host_name();
        assert!(!host.is_empty() && !host.contains(['/', ':']));
    }
}
