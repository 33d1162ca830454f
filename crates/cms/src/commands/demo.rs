//! `cms demo`: everything on a simulated Microsoft 365.
//!
//! The program is the real one, sign-in included; only the service on the other end is simulated.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cms_auth::Patience;
use cms_maildir::{Maildir, Place, hash_file};
use simcloud::{Actor, Cloud, FlagChange, FlagStatus, NewMessage, Options};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::setup::{self, Manner, Run};
use super::{Context, Ended};
use crate::configuration::Configuration;
use crate::output;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::sign_in::Invitation;
use crate::stop::Stop;
use crate::sync::{Listener, Notice, Summary, SyncError};

/// Where everything is put, below the current directory.
const DIRECTORY: &str = "cms-demo";
/// What tells a directory of ours from somebody's own.
const MARK: &str = ".made-by-cms-demo";
const USER: &str = "user@domain.com";
const MESSAGES: usize = 500;
/// How long a change may take to cross before the demonstration is declared failed.
const CROSSES_WITHIN: Duration = Duration::from_secs(30);

/// Runs the command; with `once`, it ends after the first full sync and one exchange each way.
pub async fn run(context: &Context, once: bool) -> Result<Ended, Problem> {
    let directory = make_directory()?;
    let failed = |error| Problem::from_error("could not start the simulated cloud", error);
    let mut options = Options { users: vec![USER.to_owned()], messages: MESSAGES, seed: 7, ..Options::default() };
    options.knobs.latency_ms = 20;
    let server = simcloud::serve(options).await.map_err(failed)?;
    let cloud = server.cloud().clone();

    let file = directory.join("cms.cfg");
    let text = format!(
        "MailDir(\"INBOX\")\nOffice365(\"inbox\", Office365_Account(user=\"{USER}\", login_url=\"{0}\", graph_url=\"{0}\"))\ncfg.listen = \"127.0.0.1:0\"\n",
        server.url()
    );
    fs::write(&file, text)
        .map_err(|error| Problem::from_error(format!("could not write `{}`", file.display()), error))?;
    let configuration = Configuration::load(&file)?;
    output::line(format_args!(
        "A simulated Microsoft 365 is at {} with {MESSAGES} messages for {USER}.\nIts configuration is `{}`; the Maildir is `{}`.\n",
        server.url(),
        file.display(),
        directory.join("INBOX").display()
    ))?;

    let (notices, heard) = unbounded_channel();
    let listener: Arc<Listener> = Arc::new(move |notice: &Notice| {
        // Nobody listens any more once the demonstration has ended.
        let _ = notices.send(notice.clone());
    });
    // The page that a person would click through: the simulated service signs in whoever comes.
    let visitor = |address: &str| {
        let address = address.to_owned();
        tokio::task::spawn_blocking(move || simcloud::visit(&address));
    };
    let manner =
        Manner { command: "demo", patience: Patience::Forever, invitation: Invitation::Visitor(Arc::new(visitor)) };
    let accounts = setup::accounts(&configuration, None, manner)?;
    if let Some(address) = accounts.sign_ins.address() {
        output::line(format_args!("The page is at http://localhost:{}.\n", address.port()))?;
    }
    let mut made = setup::setup(context, configuration, &accounts, Run { dry_run: false, listener: Some(listener) });
    made.poll_interval = Duration::from_secs(1);
    let mut driver = setup::open(made)?;

    let stop = context.stop.clone();
    let ending = Stop::new();
    let show =
        Show { progress: context.progress.clone(), maildir: directory.join("INBOX"), cloud, heard, stop: stop.clone() };
    let (ran, shown) = tokio::join!(driver.run(false, &ending), async {
        let shown = show.play(once).await;
        ending.request();
        shown
    });
    accounts.sign_ins.finish().await;
    server.shutdown().await;
    conclude(ran, shown?)
}

fn conclude(ran: Result<Summary, SyncError>, ended: Ended) -> Result<Ended, Problem> {
    let summary = ran?;
    output::line(format_args!("\nIn all: {summary}."))?;
    Ok(ended)
}

/// Makes an empty directory, in place of one that an earlier demonstration made.
fn make_directory() -> Result<PathBuf, Problem> {
    let directory = std::env::current_dir().unwrap_or_default().join(DIRECTORY);
    let failed = |error| Problem::from_error(format!("could not make `{}`", directory.display()), error);
    if directory.exists() {
        if !directory.join(MARK).exists() {
            return Err(Problem::new(format!("`{}` exists and wasn't made by `cms demo`", directory.display()))
                .with_hint("run `cms demo` in another directory"));
        }
        fs::remove_dir_all(&directory).map_err(failed)?;
    }
    fs::create_dir(&directory).and_then(|()| fs::write(directory.join(MARK), "")).map_err(failed)?;
    Ok(directory)
}

/// What plays on both sides.
struct Show {
    progress: Progress,
    maildir: PathBuf,
    cloud: Cloud,
    heard: UnboundedReceiver<Notice>,
    stop: Stop,
}

impl Show {
    async fn play(mut self, once: bool) -> Result<Ended, Problem> {
        let began = Instant::now();
        let settled = self.hear(|notice| matches!(notice, Notice::Settled), Duration::from_secs(600)).await?;
        if !settled {
            return Ok(Ended::Interrupted);
        }
        let count = self.verify()?;
        self.say(format_args!(
            "Synced {count} messages in {:.1} s; each is the same on both sides, byte for byte.",
            began.elapsed().as_secs_f32()
        ))?;
        self.say(format_args!("Open it in another terminal:\n\n    mutt -f {}\n", self.maildir.display()))?;
        for turn in 1.. {
            if !self.turn(turn).await? {
                return Ok(Ended::Done);
            }
            if once && turn == 2 {
                let count = self.verify()?;
                self.say(format_args!(
                    "Verified: {count} messages, the same on both sides, byte for byte and flag for flag."
                ))?;
                return Ok(Ended::Done);
            }
            if !once {
                tokio::select! {
                    () = self.stop.requested() => return Ok(Ended::Done),
                    () = tokio::time::sleep(Duration::from_secs(3)) => {}
                }
            }
        }
        Ok(Ended::Done)
    }

    /// One change on one side, and its arrival on the other. Returns whether to go on.
    async fn turn(&mut self, turn: u32) -> Result<bool, Problem> {
        // What the user did in a mail program meanwhile has been shown by the time it crossed.
        while let Ok(notice) = self.heard.try_recv() {
            self.show(&notice)?;
        }
        let began = Instant::now();
        let crossed = match turn % 4 {
            1 => {
                let subject = format!("Demonstration message {turn}");
                self.say(format_args!("In the cloud: new mail, “{subject}”"))?;
                let text = format!(
                    "From: Demo <demo@domain.com>\nTo: {USER}\nSubject: {subject}\nMessage-ID: <demo-{turn}@domain.com>\n\nHello from the simulated cloud.\n"
                );
                self.cloud
                    .add_message("", NewMessage::mime("Inbox", text))
                    .map_err(|error| Problem::from_error("could not add a message", error))?;
                self.hear(|notice| matches!(notice, Notice::Here(_)), CROSSES_WITHIN).await?
            }
            2 => {
                let Some(name) = self.mark_read()? else { return Ok(true) };
                self.say(format_args!("In the Maildir: read {name}"))?;
                self.hear(|notice| matches!(notice, Notice::There(_)), CROSSES_WITHIN).await?
            }
            3 => {
                let Some(id) = self.some_message(|message| message.flag == FlagStatus::NotFlagged)? else {
                    return Ok(true);
                };
                self.say("In the cloud: a message gets flagged")?;
                let change =
                    FlagChange { actor: Actor::Outlook, flag: Some(FlagStatus::Flagged), ..FlagChange::default() };
                self.cloud
                    .set_flags("", &id, change)
                    .map_err(|error| Problem::from_error("could not flag a message", error))?;
                self.hear(|notice| matches!(notice, Notice::Here(_)), CROSSES_WITHIN).await?
            }
            _ => {
                let Some(id) = self.some_message(|message| message.is_read)? else { return Ok(true) };
                self.say("In the cloud: a message is marked unread")?;
                let change = FlagChange { actor: Actor::Outlook, is_read: Some(false), ..FlagChange::default() };
                self.cloud
                    .set_flags("", &id, change)
                    .map_err(|error| Problem::from_error("could not mark a message", error))?;
                self.hear(|notice| matches!(notice, Notice::Here(_)), CROSSES_WITHIN).await?
            }
        };
        if crossed {
            self.say(format_args!("              crossed after {} ms", began.elapsed().as_millis()))?;
        }
        Ok(crossed)
    }

    /// Waits for a notice. Returns false if the user wants to end; that nothing comes in time is a failure.
    async fn hear(&mut self, wanted: impl Fn(&Notice) -> bool, within: Duration) -> Result<bool, Problem> {
        let deadline = tokio::time::sleep(within);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = self.stop.requested() => return Ok(false),
                () = &mut deadline => return Err(Problem::new(format!("nothing crossed within {} s", within.as_secs()))),
                notice = self.heard.recv() => match notice {
                    Some(notice) if wanted(&notice) => {
                        self.show(&notice)?;
                        return Ok(true);
                    }
                    Some(_) => {}
                    None => return Ok(false),
                },
            }
        }
    }

    /// Does what a mail program does when an unread message is read: the file goes from `new` to `cur` and gets an S.
    fn mark_read(&self) -> Result<Option<String>, Problem> {
        let failed = |error| Problem::from_error("could not read a message in the Maildir", error);
        let mut names: Vec<_> = fs::read_dir(self.maildir.join("new"))
            .map_err(failed)?
            .filter_map(Result::ok)
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        let Some(name) = names.pop() else { return Ok(None) };
        let read = format!("{}:2,S", name.to_string_lossy());
        fs::rename(self.maildir.join("new").join(&name), self.maildir.join("cur").join(&read)).map_err(failed)?;
        Ok(Some(name.to_string_lossy().into_owned()))
    }

    fn some_message(&self, wanted: impl Fn(&simcloud::MessageState) -> bool) -> Result<Option<String>, Problem> {
        let state = self
            .cloud
            .state("")
            .map_err(|error| Problem::from_error("could not look into the simulated cloud", error))?;
        Ok(state
            .messages()
            .filter(|message| message.folder == "Inbox" && wanted(message))
            .map(|message| message.id.clone())
            .last())
    }

    /// Compares both sides, and returns how many messages each has.
    fn verify(&self) -> Result<usize, Problem> {
        let state = self
            .cloud
            .state("")
            .map_err(|error| Problem::from_error("could not look into the simulated cloud", error))?;
        let mut there: Vec<(String, bool, bool)> = state
            .messages()
            .filter(|message| message.folder == "Inbox")
            .map(|message| (message.blake3_lf.clone(), message.is_read, message.flag == FlagStatus::Flagged))
            .collect();
        let mut here = files(&self.maildir)?;
        there.sort();
        here.sort();
        if here == there {
            Ok(here.len())
        } else {
            Err(Problem::new(format!("the sides differ: {} messages here, {} in the cloud", here.len(), there.len())))
        }
    }

    fn show(&self, notice: &Notice) -> Result<(), Problem> {
        match notice {
            Notice::Here(what) => self.say(format_args!("  cloud -> Maildir: {what}")),
            Notice::There(what) => self.say(format_args!("  Maildir -> cloud: {what}")),
            Notice::Settled => Ok(()),
        }
    }

    /// Writes a line while no progress bar is in the way.
    fn say(&self, text: impl std::fmt::Display) -> Result<(), Problem> {
        self.progress.suspend(|| output::line(text))
    }
}

/// The content, the Seen flag and the Flagged flag of each file in a Maildir.
fn files(path: &Path) -> Result<Vec<(String, bool, bool)>, Problem> {
    let failed = |error| Problem::from_error("could not list the Maildir", error);
    let maildir = Maildir::open(path).map_err(failed)?;
    let scan = maildir.scan().map_err(failed)?;
    let mut files = Vec::new();
    for entry in scan.entries {
        let place: Place = entry.place;
        let hash = hash_file(&maildir.path_of(place, &entry.name))
            .map_err(|error| Problem::from_error("could not read a message", error))?;
        let flags = entry.name.flags;
        files.push((
            hash.to_string(),
            flags.contains(cms_engine::Flags::SEEN),
            flags.contains(cms_engine::Flags::FLAGGED),
        ));
    }
    Ok(files)
}
