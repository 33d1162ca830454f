//! What commands ask, answered between two events of the loop.

use cms_engine::{MailboxId, Word};
use tokio::time::Instant;
use tracing::warn;

use crate::control::{self, Asked, Listening, MailboxReport, MaildirReport, MaildirState, ProcessReport};
use crate::control::{AccountReport, HeldReport, Reply, Report, Request, Which};
use crate::problem::with_causes;
use crate::sync::SyncError;
use crate::sync::at_rest;
use crate::sync::driver::{Driver, Mailbox};
use crate::sync::local::LocalError;
use crate::sync::tasks::Event;

impl Driver {
    /// Lets commands ask at the control socket, and the page at the door, from now on. Without a socket everything else
    /// works.
    pub(crate) fn listen(&mut self) {
        self.open_door();
        match Listening::at(&self.state_dir) {
            Ok((listening, listener)) => {
                self.listening = Some(listening);
                let events = self.events.0.clone();
                self.tasks.spawn(control::serve(listener, move |asked| {
                    let events = events.clone();
                    async move { events.send(Event::Asked(asked)).await.is_ok() }
                }));
            }
            Err(error) => warn!("commands can't ask this process: {}", with_causes(&error)),
        }
    }

    /// Lets those ask who are within this process.
    pub(crate) fn open_door(&self) {
        if let Some(door) = &self.door {
            let events = self.events.0.clone();
            door.open(move |asked| {
                let events = events.clone();
                Box::pin(async move { events.send(Event::Asked(asked)).await.is_ok() })
            });
        }
    }

    /// Answers a command that found nobody at the socket and so has opened the state itself.
    ///
    /// No cloud is asked: what one said last is in the state. What follows from the answer is for a run to do.
    pub(crate) fn consult(&mut self, request: &Request) -> Result<Reply, SyncError> {
        self.look_at_maildirs()?;
        self.look_for_removed();
        self.apply_start_policy();
        self.world.touch_everything();
        let plan = self.plan();
        self.note_held(&plan);
        self.world.touch_everything();
        let reply = self.answer(request);
        self.write_down()?;
        Ok(reply)
    }

    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { request, reply: sender } = asked;
        if let Request::Errand { errand } = request {
            // Whoever asked may have gone away by the time that it is done.
            let answer = move |report| drop(sender.send(Reply::Errand { report: Box::new(report) }));
            return self.take_errand(errand, Box::new(answer));
        }
        let reply = self.answer(&request);
        // What was promised must survive a kill that comes right after the promise.
        let reply = match self.write_down() {
            Ok(()) if self.world.has_changes() && matches!(reply, Reply::Ruled { .. }) => Reply::Refused {
                what: "it can't be written down now, so that a crash would undo it".to_owned(),
                hint: Some("`cms status` tells why; it is followed all the same if nothing crashes before".to_owned()),
            },
            Ok(()) => reply,
            Err(error) => Reply::Refused { what: with_causes(&error), hint: None },
        };
        // Whoever asked may have gone away.
        let _ = sender.send(reply);
    }

    fn answer(&mut self, request: &Request) -> Reply {
        match request {
            Request::Status => Reply::Status(Box::new(self.report())),
            Request::Held => Reply::Held { held: self.summary.held.clone() },
            Request::Apply { which } => self.rule(which, Word::Delete),
            Request::Restore { which: Which::Mailbox(name) }
                if self.is_out_of_use(name) && !self.holds_maildir(name) =>
            {
                self.restore_maildir(name)
            }
            Request::Restore { which } => self.rule(which, Word::Keep),
            Request::Errand { .. } => {
                Reply::Refused { what: "an errand takes time, and isn't answered at once".to_owned(), hint: None }
            }
        }
    }

    fn is_out_of_use(&self, maildir: &str) -> bool {
        let is_it = |id: &cms_engine::MaildirId| self.local.path(*id) == Some(std::path::Path::new(maildir));
        self.local.ids().iter().any(|id| is_it(id) && self.local.maildir(*id).is_none())
    }

    fn restore_maildir(&mut self, path: &str) -> Reply {
        match self.accept_maildir(path) {
            Some(Err(error)) => {
                let is_anothers = matches!(error, LocalError::OfAnother { .. });
                let hint = "move it back; if it is a copy that is to stay here, remove `.cms-maildir` from it first";
                Reply::Refused { what: with_causes(&error), hint: is_anothers.then(|| hint.to_owned()) }
            }
            Some(Ok(())) | None => Reply::Refilled { maildir: path.to_owned() },
        }
    }

    /// How everything stands.
    fn report(&self) -> Report {
        let status = self.board.as_ref().map(crate::page::Board::status).unwrap_or_default();
        let lines = self.mailbox_lines();
        let (kept, left_out) = (self.world.kept(), self.world.left_out());
        let mailboxes = |account: usize| {
            let own = self.mailboxes.iter().zip(&lines).filter(|(mailbox, _)| mailbox.sign_in == account);
            own.map(|(mailbox, line)| MailboxReport {
                name: mailbox.name.clone(),
                messages: line.messages,
                waiting: self.waiting_in(mailbox.id),
                left_out: left_out.get(&mailbox.id).copied().unwrap_or_default(),
                since: self.world.scopes.since(mailbox.id).map(|since| since.0),
                kept: kept.get(&mailbox.id).copied().unwrap_or_default(),
                activity: Some(line.activity.clone()),
                synced_at: line.synced_at,
                next_poll_at: Some(self.next_poll_at(mailbox)),
                trouble: mailbox.trouble.clone(),
                not_downloadable: self.world.trouble_lines_of(mailbox.id),
                held: self.held_in(mailbox.sign_in, &mailbox.name).cloned().collect(),
            })
            .collect()
        };
        let accounts = status.accounts.iter().enumerate().map(|(place, account)| AccountReport {
            name: account.name.clone(),
            service: account.service.clone(),
            sign_in: account.sign_in.clone(),
            mailboxes: mailboxes(place),
        });
        let maildirs = self.local.ids().into_iter().map(|id| MaildirReport {
            path: self.local.path(id).map(|path| path.display().to_string()).unwrap_or_default(),
            state: match () {
                () if self.local.maildir(id).is_some() => MaildirState::Known,
                () if self.local.is_replaced(id) => MaildirState::Replaced,
                () => MaildirState::Missing,
            },
            local_only: self.world.strangers().filter(|key| key.maildir == id).count() as u64,
        });
        Report {
            accounts: accounts.collect(),
            maildirs: maildirs.collect(),
            disk: self.disk_troubles(),
            compared: at_rest::comparison(&self.database).ok().flatten(),
            process: Some(ProcessReport { pid: status.pid, command: status.command, version: status.version }),
        }
    }

    fn waiting_in(&self, mailbox: MailboxId) -> u64 {
        let waits = self.world.cloud.messages.unread().filter(|(_, message)| message.mailbox == mailbox);
        waits.filter(|(id, message)| !self.world.is_left_out(id, message)).count() as u64
    }

    /// The deletions in a mailbox that wait for the user's word.
    pub(super) fn held_in<'a>(&'a self, account: usize, mailbox: &'a str) -> impl Iterator<Item = &'a HeldReport> {
        self.summary.held.iter().filter(move |held| held.account == account && held.mailbox == mailbox)
    }

    /// When a mailbox is asked for the next time, in seconds since 1970.
    fn next_poll_at(&self, mailbox: &Mailbox) -> i64 {
        let wait = mailbox.next_poll.saturating_duration_since(Instant::now());
        self.now().0.saturating_add(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX))
    }
}
