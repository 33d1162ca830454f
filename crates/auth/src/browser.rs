//! Opening the user's browser.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a browser command may take to say that it can't: it runs on for as long as it likes after that.
const FAILS_WITHIN: Duration = Duration::from_secs(1);

/// The programs that may open an address, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    commands: Vec<Vec<String>>,
}

impl Browser {
    /// No browser: the address is only shown.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.commands.is_empty()
    }

    /// What `$BROWSER` names, else `xdg-open` where there is a display.
    pub fn from_environment() -> Self {
        let display =
            ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|v| !v.is_empty()));
        Self::from_settings(env::var("BROWSER").ok().as_deref(), display)
    }

    /// The same with the environment's answers given.
    fn from_settings(browser: Option<&str>, display: bool) -> Self {
        let named: Vec<Vec<String>> = browser
            .unwrap_or_default()
            .split(':')
            .map(|command| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
            .collect();
        match (named.is_empty(), display) {
            (false, _) => Self { commands: named },
            (true, true) => Self { commands: vec![vec!["xdg-open".to_owned()]] },
            (true, false) => Self::none(),
        }
    }

    /// Opens the address with the first command that works, and says whether one did. Doesn't wait for it to end.
    pub async fn open(&self, address: &str) -> bool {
        for words in &self.commands {
            if run(words, address).await {
                return true;
            }
        }
        false
    }
}

async fn run(words: &[String], address: &str) -> bool {
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let placed = arguments.iter().any(|argument| argument.contains("%s"));
    command.args(arguments.iter().map(|argument| argument.replace("%s", address)));
    if !placed {
        command.arg(address);
    }
    let Ok(mut child) = command.spawn() else { return false };
    match tokio::time::timeout(FAILS_WITHIN, child.wait()).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(_)) => false,
        Err(_) => {
            // It is running; somebody must take its exit status when it ends.
            tokio::spawn(async move { child.wait().await });
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_split_at_colons_and_a_display_brings_the_desktops_own() {
        assert_eq!(Browser::from_settings(Some("firefox -new-tab %s:lynx"), false).commands.len(), 2);
        assert_eq!(Browser::from_settings(None, true).commands, vec![vec!["xdg-open".to_owned()]]);
        assert_eq!(Browser::from_settings(Some(""), true).commands, vec![vec!["xdg-open".to_owned()]]);
        assert!(Browser::from_settings(None, false).commands.is_empty());
    }

    #[tokio::test]
    async fn the_first_command_that_works_gets_the_address() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("opened");
        // `touch` stands for a browser: it leaves the address as a file's name.
        let browser = Browser::from_settings(Some("no-such-browser:false:touch %s"), false);
        assert!(browser.open(marker.to_str().unwrap()).await);
        assert!(marker.exists());
        assert!(!Browser::none().open("http://127.0.0.1/").await);
    }
}
