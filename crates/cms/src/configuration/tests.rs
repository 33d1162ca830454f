//! Files and what is read from them, or what is said about them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cms_auth::NationalCloud;
use cms_cloud::contract::DeleteAction;

use super::paths::Surroundings;
use super::*;

const SEED: &str = "MailDir(\"~/mail/INBOX\")\nOffice365(\"inbox\", Office365_Account(user=\"user@domain.com\"))\n";

fn read(text: &str) -> Result<Configuration, ConfigurationError> {
    let surroundings =
        Surroundings { home: Some(PathBuf::from("/home/user")), directory: PathBuf::from("/home/user/config") };
    Configuration::read(Path::new("cms.cfg"), text, surroundings)
}

/// Reads the two lines of the simplest configuration and then `more`, which begins in line 3.
fn with(more: &str) -> Result<Configuration, ConfigurationError> {
    read(&format!("{SEED}{more}"))
}

/// How an error is shown, without the word `error:`.
fn told(result: Result<Configuration, ConfigurationError>) -> String {
    let error = result.expect_err("this must be refused");
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(told(read(text)), expected, "for:\n{text}");
}

#[track_caller]
fn refused_after(more: &str, expected: &str) {
    assert_eq!(told(with(more)), expected, "for:\n{more}");
}

#[test]
fn two_lines_are_a_configuration() {
    let configuration = read(SEED).unwrap();
    assert_eq!(configuration.maildirs, [MaildirConfig { path: "/home/user/mail/INBOX".into() }]);
    assert_eq!(
        configuration.accounts,
        [Office365AccountConfig {
            user: Some("user@domain.com".into()),
            tenant: "common".into(),
            client_id: None,
            cloud: NationalCloud::Global,
            login_url: None,
            graph_url: None,
            owa_url: None,
            rate_limit: None,
            redirect_host: None,
            redirect_path: None,
            scopes: None,
            send_origin: false,
        }]
    );
    assert_eq!(
        configuration.mailboxes,
        [MailboxConfig {
            owner: None,
            name: "inbox".into(),
            position: Some(Position { file: "cms.cfg".into(), line: 2, column: 1 }),
            account: 0,
            delete_action: DeleteAction::Trash,
            push: Push::Auto,
            upload: Upload::Drafts,
            since: None,
            keep: false,
        }]
    );
    assert_eq!(configuration.state_dir, Path::new("/home/user/mail/.cms"));
    assert_eq!(configuration.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((&configuration.push_url, configuration.push_listen), (&None, Configuration::PUSH_LISTEN));
    assert_eq!(configuration.poll_interval, Duration::from_secs(60));
    assert_eq!(configuration.keep_deleted_days, 14);
    assert_eq!(configuration.max_deletions, None);
    assert_eq!(configuration.on_change, None);
    assert!(!configuration.has_router());
    assert_eq!(configuration.route(0, b"", "").unwrap(), 0);
}

#[test]
fn everything_can_be_said() {
    let configuration = read(
        r#"
inbox = MailDir("mail/INBOX")
lists = MailDir(path = "/var/mail/lists/")
account = Office365_Account(
    "user@domain.com",
    tenant = "domain.com",
    client_id = "1234",
    cloud = "usgov",
    login_url = "http://127.0.0.1:1/login",
    graph_url = "http://localhost:2",
    owa_url = "https://owa.example.com",
    rate_limit = 5000,
)
Office365("inbox", account, delete_action = "archive", push = "poll", upload = "import")
Office365("/Inbox/Lists/rust/", account = account, delete_action = "purge", push = "stream", upload = "none")

cfg.state_dir = "~/.local/state/cms"
cfg.listen = "localhost:8081"
cfg.push_url = "https://mail.example.org/cms"
cfg.push_listen = "localhost:9000"
cfg.poll_interval = "5min"
cfg.keep_deleted = 30
cfg.max_deletions = 7
cfg.on_change = "notmuch new"
"#,
    )
    .unwrap();
    let paths: Vec<_> = configuration.maildirs.iter().map(|maildir| maildir.path.display().to_string()).collect();
    assert_eq!(paths, ["/home/user/config/mail/INBOX", "/var/mail/lists"]);
    let account = &configuration.accounts[0];
    assert_eq!((account.tenant.as_str(), account.client_id.as_deref()), ("domain.com", Some("1234")));
    assert_eq!(account.cloud, NationalCloud::UsGov);
    assert_eq!(account.rate_limit, Some(5000));
    assert_eq!(account.login_url.as_ref().unwrap().as_str(), "http://127.0.0.1:1/login");
    let mailboxes: Vec<_> =
        configuration.mailboxes.iter().map(|m| (m.name.as_str(), m.account, m.delete_action, m.push)).collect();
    let uploads: Vec<_> = configuration.mailboxes.iter().map(|mailbox| mailbox.upload).collect();
    assert_eq!(uploads, [Upload::Import, Upload::None]);
    assert_eq!(
        mailboxes,
        [("inbox", 0, DeleteAction::Archive, Push::Poll), ("Inbox/Lists/rust", 0, DeleteAction::Purge, Push::Stream)]
    );
    assert_eq!(configuration.state_dir, Path::new("/home/user/.local/state/cms"));
    assert_eq!(configuration.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(configuration.push_url.unwrap().as_str(), "https://mail.example.org/cms");
    assert_eq!(configuration.push_listen.to_string(), "127.0.0.1:9000");
    assert_eq!(configuration.poll_interval, Duration::from_secs(300));
    assert_eq!(configuration.keep_deleted_days, 30);
    assert_eq!(configuration.max_deletions, Some(7));
    assert_eq!(configuration.on_change.as_deref(), Some("notmuch new"));
}

#[test]
fn an_account_written_twice_is_one_account() {
    let configuration = read("MailDir('a')\nOffice365('inbox', Office365_Account('u'))\nOffice365('sent', Office365_Account('u'))\nOffice365('inbox', Office365_Account('v'))").unwrap();
    assert_eq!(configuration.accounts.len(), 2);
    assert_eq!(configuration.mailboxes.iter().map(|m| m.account).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn durations_and_days_can_be_numbers_or_text() {
    for (text, milliseconds) in
        [("30", 30_000), ("\"30\"", 30_000), ("\"30s\"", 30_000), ("\"250 ms\"", 250), ("\"1h\"", 3_600_000)]
    {
        let configuration = with(&format!("cfg.poll_interval = {text}")).unwrap();
        assert_eq!(configuration.poll_interval, Duration::from_millis(milliseconds), "{text}");
    }
    for (text, days) in [("3", 3), ("\"3d\"", 3), ("\"3 days\"", 3), ("0", 0)] {
        assert_eq!(with(&format!("cfg.keep_deleted = {text}")).unwrap().keep_deleted_days, days, "{text}");
    }
}

#[test]
fn none_is_the_default_and_the_last_value_counts() {
    assert_eq!(with("cfg.poll_interval = None").unwrap().poll_interval, Duration::from_secs(60));
    assert_eq!(with("cfg.max_deletions = 1\ncfg.max_deletions = 2").unwrap().max_deletions, Some(2));
    assert_eq!(with("if False:\n    cfg.max_deletions = 1").unwrap().max_deletions, None);
    assert_eq!(with("if True:\n    cfg.max_deletions = 1").unwrap().max_deletions, Some(1));
}

#[test]
fn a_mass_deletion_is_twenty_messages_or_a_quarter() {
    let configuration = read(SEED).unwrap();
    assert_eq!(configuration.deletions_held_beyond(3), 20);
    assert_eq!(configuration.deletions_held_beyond(1000), 250);
    assert_eq!(with("cfg.max_deletions = 0").unwrap().deletions_held_beyond(1000), 0);
}

#[test]
fn unknown_names() {
    refused(
        "MailDir(\"~/mail\")\nOffice356(\"inbox\")",
        "cms.cfg:2:1: `Office356` is not known\nhint: did you mean `Office365`?",
    );
    refused("Maildir(\"~/mail\")", "cms.cfg:1:1: `Maildir` is not known\nhint: did you mean `MailDir`?");
    refused_after("xyzzy()", "cms.cfg:3:1: `xyzzy` is not known");
    refused_after(
        "account = Office365_Account()\nOffice365('sent', acount)",
        "cms.cfg:4:19: `acount` is not known\nhint: did you mean `account`?",
    );
    refused_after(
        "print(cfg.listen)",
        "cms.cfg:3:7: the options in `cfg` can be set, but not read\nhint: give the value a name of its own",
    );
}

#[test]
fn unknown_options() {
    refused_after(
        "cfg.pol_interval = 3",
        "cms.cfg:3:1: `cfg.pol_interval` is not known\nhint: did you mean `poll_interval`?",
    );
    refused_after(
        "cfg.x = 3",
        "cms.cfg:3:1: `cfg.x` is not known\nhint: the options are `direct_message`, `state_dir`, `listen`, `push_url`, \
         `push_listen`, `token_key_command`, `poll_interval`, `keep_deleted`, `max_deletions`, `on_change`",
    );
    refused_after(
        "def f():\n    cfg.listen = 'localhost:1'\nf()",
        "cms.cfg:4:5: `cfg.listen` can't be set inside a function\nhint: set it at the top level of the file",
    );
    refused_after(
        "cfg.max_deletions += 1",
        "cms.cfg:3:1: `cfg.max_deletions` can only be set as a whole\nhint: write `cfg.max_deletions = …`",
    );
    refused_after("cfg . listen = 1", "cms.cfg:3:1: there must be nothing around the dot\nhint: write `cfg.listen`");
}

#[test]
fn wrong_arguments() {
    refused("MailDir()", "cms.cfg:1:1: `MailDir` needs a `path`\nhint: write `MailDir(\"~/mail/INBOX\")`");
    refused(
        "MailDir(1)",
        "cms.cfg:1:9: the `path` of `MailDir` must be a string, not a number\nhint: write `MailDir(\"~/mail/INBOX\")`",
    );
    refused(
        "MailDir('a', 'b')",
        "cms.cfg:1:14: `MailDir` has too many arguments\nhint: write `MailDir(\"~/mail/INBOX\")`",
    );
    refused("MailDir('a', path='b')", "cms.cfg:1:14: `path` is given twice to `MailDir`");
    refused(
        "MailDir('')",
        "cms.cfg:1:9: the `path` of `MailDir` must not be empty\nhint: write `MailDir(\"~/mail/INBOX\")`",
    );
    refused("MailDir('/')", "cms.cfg:1:9: the root of the file system can't be a Maildir");
    refused(
        "MailDir('~root/mail')",
        "cms.cfg:1:9: `~root/mail` names another user's home, which is not supported\nhint: write the whole path",
    );
    refused(
        "Office365_Account(usr='x')",
        "cms.cfg:1:19: `Office365_Account` has no argument `usr`\nhint: did you mean `user`?",
    );
    refused(
        "Office365_Account(cloud='gov')",
        "cms.cfg:1:19: `cloud` can't be \"gov\"\nhint: write one of \"global\", \"usgov\", \"usdod\", \"china\"",
    );
    refused(
        "Office365('inbox', 'user@domain.com')",
        "cms.cfg:1:20: the `account` of `Office365` must be an `Office365_Account`, not a string\n\
         hint: write `Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))`",
    );
    refused(
        "Office365('inbox')",
        "cms.cfg:1:1: `Office365` needs an `account`\n\
         hint: write `Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))`",
    );
    refused_after(
        "Office365('a//b', Office365_Account())",
        "cms.cfg:3:11: `a//b` is not the name of a mailbox\n\
         hint: write `\"inbox\"`, a folder's name, or a path such as `\"Inbox/Lists/rust\"`",
    );
    refused_after(
        "Office365('sent', Office365_Account(), push='fast')",
        "cms.cfg:3:40: `push` can't be \"fast\"\nhint: write one of \"auto\", \"poll\", \"stream\"",
    );
}

#[test]
fn things_declared_twice_or_not_at_all() {
    refused("", "cms.cfg:1:1: no `MailDir` is declared\nhint: write `MailDir(\"~/mail/INBOX\")`");
    refused(
        "MailDir('a')",
        "cms.cfg:1:1: no cloud mailbox is declared\n\
         hint: write `Office365(\"inbox\", Office365_Account(user=\"user@domain.com\"))`",
    );
    refused_after(
        "MailDir('../mail//./INBOX/')",
        "cms.cfg:3:9: there already is a `MailDir` at `/home/user/mail/INBOX`\n\
         hint: use the one that is there: give it a name (`inbox = MailDir(…)`)",
    );
    refused_after(
        "Office365('Inbox', Office365_Account('user@domain.com'))",
        "cms.cfg:3:11: the mailbox `Inbox` of this account is already there\nhint: remove one of the two lines",
    );
}

#[test]
fn two_ways_to_one_directory_are_found_through_links() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
    let text = format!("MailDir('{0}/real/INBOX')\nMailDir('{0}/link/INBOX')", root.display());
    let error = read(&text).unwrap_err().to_string();
    assert_eq!(error, format!("cms.cfg:2:9: there already is a `MailDir` at `{}/real/INBOX`", root.display()));
}

#[test]
fn what_is_not_built_yet() {
    refused(
        "MailDir('a')\nGMail('INBOX', GMail_Account(user='x'))",
        "cms.cfg:2:16: `GMail_Account` is not built yet: only Office365 works in this version\n\
         hint: remove the line, or use `Office365` and `Office365_Account`",
    );
    refused(
        "GMail('INBOX', None)",
        "cms.cfg:1:1: `GMail` is not built yet: only Office365 works in this version\n\
         hint: remove the line, or use `Office365` and `Office365_Account`",
    );
}

#[test]
fn addresses_that_would_give_secrets_away() {
    refused(
        "Office365_Account(login_url='http://login.example.com/x')",
        "cms.cfg:1:19: `http://login.example.com/x` would send your mail and sign-in over an open connection\n\
         hint: write `https://login.example.com/x`; only addresses on this machine may use http",
    );
    refused(
        "Office365_Account(graph_url='graph.microsoft.com')",
        "cms.cfg:1:19: `graph.microsoft.com` is not a URL: relative URL without a base\n\
         hint: write something like `https://login.example.com`",
    );
    refused(
        "Office365_Account(owa_url='ftp://x')",
        "cms.cfg:1:19: `ftp://x` is not the URL of a web service\nhint: write something like `https://login.example.com`",
    );
    for wrong in ["0", "-1", "'5000'", "2.5"] {
        let text = format!("Office365_Account(rate_limit={wrong})");
        refused(&text, "cms.cfg:1:19: the `rate_limit` of `Office365_Account` must be a whole number above 0");
    }
    refused("Office365_Account(owa_url='https://u:p@x')", "cms.cfg:1:19: a URL must not hold a user name or password");
    refused_after(
        "cfg.listen = '0.0.0.0:8080'",
        "cms.cfg:3:14: `0.0.0.0:8080` could be reached from other machines\nhint: write `127.0.0.1:8080`",
    );
    refused_after(
        "cfg.push_listen = '127.0.0.1:8080'",
        "cms.cfg:3:19: `cfg.push_listen` has the port of the page, 8080\nhint: write another port; the page is nobody's but yours",
    );
}

#[test]
fn option_values_that_make_no_sense() {
    refused_after("cfg.listen = 8080", "cms.cfg:3:14: `cfg.listen` must be a string, not a number");
    refused_after(
        "cfg.listen = 'localhost'",
        "cms.cfg:3:14: `localhost` is not an address to listen on\nhint: write something like `127.0.0.1:8080`",
    );
    refused_after(
        "cfg.poll_interval = 'soon'",
        "cms.cfg:3:21: `soon` is not a duration\nhint: write a number of seconds, `\"30s\"` or `\"5min\"`",
    );
    refused_after(
        "cfg.poll_interval = 0",
        "cms.cfg:3:21: polling that often would be refused by the mail service\n\
         hint: write at least `\"1s\"`; the default is 60 s",
    );
    refused_after(
        "cfg.poll_interval = '2 h 3'",
        "cms.cfg:3:21: `2 h 3` is not a duration\nhint: write a number of seconds, `\"30s\"` or `\"5min\"`",
    );
    refused_after(
        "cfg.poll_interval = '999999999999999999 h'",
        "cms.cfg:3:21: `999999999999999999 h` is not a duration\n\
         hint: write a number of seconds, `\"30s\"` or `\"5min\"`",
    );
    refused_after(
        "cfg.keep_deleted = -1",
        "cms.cfg:3:20: `cfg.keep_deleted` must be a number of days, not -1\nhint: write a number such as `14`",
    );
    refused_after("cfg.max_deletions = 'x'", "cms.cfg:3:21: `cfg.max_deletions` must be a number from 0, not a string");
    refused_after("cfg.on_change = ' '", "cms.cfg:3:17: `cfg.on_change` must not be empty");
    refused_after(
        "cfg.direct_message = MailDir('x')",
        "cms.cfg:3:22: `cfg.direct_message` must be a function, not a `MailDir`\n\
         hint: write `def f(msg):` with a `return` of a `MailDir`, then `cfg.direct_message = f`",
    );
    refused_after(
        "cfg.state_dir = '~/mail/INBOX/cur/x'",
        "cms.cfg:3:17: `cfg.state_dir` lies in the Maildir `/home/user/mail/INBOX`\n\
         hint: write a path beside it, such as `/home/user/mail/.cms`",
    );
}

#[test]
fn what_is_not_starlark() {
    refused("MailDir('x", "cms.cfg:1:9: unfinished string literal");
    refused("x = [1", "cms.cfg:1:7: unexpected new line, expected symbol ']'");
    refused("\tMailDir('x')", "cms.cfg:1:1: tabs are not allowed\nhint: indent with spaces");
    refused(
        "import os",
        "cms.cfg:1:1: cannot use reserved keyword `import`\n\
         hint: the file is Starlark, a small dialect of Python without modules",
    );
    refused(
        "load('x', 'y')",
        "cms.cfg:1:1: `load` is not allowed in this dialect\n\
         hint: a configuration is one file; write everything into it",
    );
    refused("fail('not on this machine')", "cms.cfg:1:1: not on this machine");
    refused("x = 'a' + 1", "cms.cfg:1:5: operation `+` not supported for types `string` and `int`");
}

#[test]
fn positions_are_counted_in_characters() {
    refused(
        "x = 'ä€😀'; MailDir(1)",
        "cms.cfg:1:20: the `path` of `MailDir` must be a string, not a number\nhint: write `MailDir(\"~/mail/INBOX\")`",
    );
}

const ROUTED: &str = r#"
inbox = MailDir("inbox")
rust = MailDir("rust")
seen = MailDir("seen")
Office365("inbox", Office365_Account())
Office365("Junk Email", Office365_Account())

def route(msg):
    if msg.get_header("List-ID") and "rust" in msg.get_header("list-id"):
        return rust
    if msg.mailbox == "Junk Email" or "S" in msg.flags:
        return seen
    if msg.get_header("X-Absent") == None:
        return inbox

cfg.direct_message = route
"#;

#[test]
fn messages_go_where_the_function_says() {
    let configuration = read(ROUTED).unwrap();
    assert!(configuration.has_router());
    let route = |mailbox, header: &str, flags| configuration.route(mailbox, header.as_bytes(), flags).unwrap();
    assert_eq!(route(0, "List-ID: <rust.example.org>\r\n\r\n", ""), 1);
    assert_eq!(route(0, "Subject: x\r\n\r\nList-ID: rust\r\n", ""), 0);
    assert_eq!(route(0, "Subject: x\r\n\r\n", "RS"), 2);
    assert_eq!(route(1, "Subject: x\r\n\r\n", ""), 2);
}

#[test]
fn the_function_can_be_asked_from_many_threads() {
    let configuration = std::sync::Arc::new(read(ROUTED).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let configuration = configuration.clone();
            std::thread::spawn(move || (0..50).all(|_| configuration.route(0, b"List-ID: rust\n\n", "").unwrap() == 1))
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn an_answer_that_is_no_maildir() {
    let error = read(ROUTED).unwrap().route(0, b"X-Absent: no\n\n", "").unwrap_err();
    assert_eq!(error.to_string(), "cms.cfg:16:22: `cfg.direct_message` must return a `MailDir`, not `None`");
}

#[track_caller]
fn fails_for_a_message(function: &str, expected: &str) {
    let configuration = with(&format!("{function}\ncfg.direct_message = f")).unwrap();
    let error = configuration.route(0, b"Subject: x\n\n", "").unwrap_err();
    let told = error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"));
    assert_eq!(told, expected, "for:\n{function}");
}

#[test]
fn a_function_that_fails() {
    fails_for_a_message(
        "def f(msg):\n    return msg.subject",
        "cms.cfg:4:12: a message has no attribute `subject`\n\
         hint: a message has `mailbox`, `flags` and `get_header(name)`",
    );
    fails_for_a_message(
        "def f(msg):\n    return msg.get_header(1)",
        "cms.cfg:4:12: `get_header` takes a field's name, not a number\nhint: write `msg.get_header(\"List-ID\")`",
    );
    fails_for_a_message(
        "def f(msg):\n    return MailDir('new')",
        "cms.cfg:4:12: mailboxes and Maildirs can't be declared while a message is being delivered\n\
         hint: declare it at the top of the file, and use its name here",
    );
    fails_for_a_message(
        "def f():\n    pass",
        "cms.cfg:5:22: found 1 extra positional argument(s) for call to cms.cfg.f",
    );
}

#[test]
fn a_function_that_does_not_end_is_stopped() {
    let configuration =
        with("def f(msg):\n    for i in range(1000000000):\n        pass\ncfg.direct_message = f").unwrap();
    assert!(configuration.route(0, b"", "").is_err());
}

#[test]
fn a_file_that_is_not_there() {
    let error = Configuration::load(Path::new("/nonexistent/cms.cfg")).unwrap_err();
    assert_eq!(error.to_string(), "could not read the configuration `/nonexistent/cms.cfg`");
}

#[test]
fn an_account_that_no_mailbox_is_in_is_left_out() {
    let configuration = read(
        "MailDir(\"m\")\nunused = Office365_Account(user=\"a@b\")\nused = Office365_Account(user=\"c@d\")\n\
         Office365_Account(user=\"e@f\")\nOffice365(\"inbox\", used)\n",
    )
    .unwrap();
    let users: Vec<_> = configuration.accounts.iter().map(|account| account.user.as_deref()).collect();
    assert_eq!((users, configuration.mailboxes[0].account), (vec![Some("c@d")], 0));
}

#[test]
fn a_registration_of_ones_own_is_described_whole() {
    let configuration = read(
        "MailDir(\"m\")\nOffice365(\"inbox\", Office365_Account(client_id=\"id\", redirect_host=\"localhost\", \
         redirect_path=\"/a/b\", scopes=[\"x\", \"y\"], send_origin=True))\ncfg.token_key_command = \"pass show cms\"\n\
         cfg.listen = \"[::1]:8080\"\n",
    )
    .unwrap();
    let account = &configuration.accounts[0];
    assert_eq!((account.redirect_host, account.redirect_path.as_deref()), (Some("localhost"), Some("/a/b")));
    assert_eq!((account.scopes.as_deref(), account.send_origin), (Some(&["x".to_owned(), "y".to_owned()][..]), true));
    assert_eq!(configuration.token_key_command.as_deref(), Some("pass show cms"));
    // Browsers are sent back to the IPv4 address, whatever else is listened on.
    let addresses: Vec<_> = configuration.listen_addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:8080", "[::1]:8080"]);
}

#[test]
fn a_registration_that_cannot_be_is_refused_with_what_to_write() {
    let account = |arguments: &str| format!("MailDir(\"m\")\nOffice365(\"inbox\", Office365_Account({arguments}))\n");
    for (arguments, words) in [
        ("redirect_host=\"example.com\"", "`redirect_host` can't be \"example.com\""),
        ("redirect_path=\"oauth2\"", "is not the path of a redirect address"),
        ("redirect_path=\"/a?b\"", "is not the path of a redirect address"),
        ("scopes=\"x\"", "must be a list of strings, not a string"),
        ("scopes=[]", "must be a list of strings"),
        ("scopes=[1]", "must be a string, not a number"),
        ("send_origin=1", "must be `True` or `False`"),
    ] {
        let error = told(read(&account(arguments)));
        assert!(error.contains(words), "{arguments}: {error}");
    }
    assert!(told(read(&format!("{}cfg.token_key_command = \"\"\n", account("")))).contains("must not be empty"));
}

#[test]
fn a_mailbox_of_somebody_elses_is_named_with_its_owner() {
    let more = "Office365('inbox', Office365_Account('user@domain.com'), mailbox_owner='Team@Domain.com')";
    let configuration = with(more).unwrap();
    let names: Vec<&str> = configuration.mailboxes.iter().map(|mailbox| mailbox.name.as_str()).collect();
    assert_eq!(names, ["inbox", "team@domain.com/inbox"]);
    assert_eq!(configuration.mailboxes[1].owner.as_deref(), Some("team@domain.com"));
    assert_eq!((configuration.accounts.len(), configuration.mailboxes[1].account), (1, 0), "one sign-in for both");

    let team = |more: &str| format!("Office365('inbox', Office365_Account('user@domain.com'), mailbox_owner={more})");
    for wrong in ["'team'", "'a@b@c'", "'@domain.com'", "'team@'", "'a b@domain.com'", "'x/../me@domain.com'"] {
        let text = told(with(&team(wrong)));
        let hint = "is not the address of a mailbox\nhint: write whose mailbox it is, such as `team@domain.com`";
        assert!(text.starts_with("cms.cfg:3:") && text.ends_with(hint), "{text}");
    }
    refused_after(
        &team("'USER@domain.com'"),
        "cms.cfg:3:58: the mailbox of `user@domain.com` is the account's own\nhint: leave `mailbox_owner` out",
    );
    refused_after(
        &team("'team@domain.com', push='stream'"),
        "cms.cfg:3:91: of a mailbox that isn't the account's own nothing tells of changes\nhint: leave `push` out: it is polled",
    );
    refused_after(
        &team("'team@domain.com', upload='import'"),
        "cms.cfg:3:91: a mailbox that isn't the account's own takes only drafts\n\
         hint: write `upload=\"drafts\"` or `upload=\"none\"`",
    );
    let twice = format!("{}\n{}", team("'team@domain.com'"), team("'TEAM@domain.com'"));
    refused_after(
        &twice,
        "cms.cfg:4:11: the mailbox `team@domain.com/inbox` of this account is already there\nhint: remove one of the two lines",
    );
}

#[test]
fn a_mailbox_may_bring_what_is_new_and_keep_what_is_gone() {
    let other = |more: &str| format!("Office365('Archive', Office365_Account('user@domain.com'), {more})");
    let scope = |more: &str| {
        let mailbox = with(&other(more)).unwrap().mailboxes.remove(1);
        (mailbox.since, mailbox.keep)
    };
    assert_eq!(scope("since='1970-01-31', keep=True"), (Some(Since::Day(30)), true));
    assert_eq!(scope("since='90 days', keep=False"), (Some(Since::Age(90)), false));
    assert_eq!(scope("since=None"), (None, false));
    refused_after(
        &other("since='3 months'"),
        "cms.cfg:3:60: `3 months` is neither a day nor an age\n\
         hint: write a day such as `\"2026-01-31\"`, or an age such as `\"90 days\"` or `\"12 weeks\"`",
    );
    refused_after(
        &other("since='2026-02-30'"),
        "cms.cfg:3:60: `2026-02-30` is not a day\nhint: write year, month and day, as in `\"2026-01-31\"`",
    );
    refused_after(&other("keep='yes'"), "cms.cfg:3:60: the `keep` of `Office365` must be `True` or `False`");
    for (more, at) in
        [("since='90 days', upload='import'", "60: `since`"), ("keep=True, upload='import'", "60: `keep`")]
    {
        refused_after(
            &other(more),
            &format!(
                "cms.cfg:3:{at} can't be had together with `upload=\"import\"`\n\
                 hint: write `upload=\"drafts\"` or `upload=\"none\"`"
            ),
        );
    }
}
