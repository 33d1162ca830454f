//! One status for each thing that the page can show.

use super::held::{Headline, HeldReport};
use super::status::{AccountStatus, Activity, MailboxStatus, SignInStatus, Status, Trouble};
use super::words::unix_now;

pub(super) fn in_sync() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 4711,
        command: "run".to_owned(),
        accounts: vec![
            account("jane@example.com", "Microsoft 365"),
            account("sales.and.support@a-rather-long-company-name.example", "Microsoft 365"),
            account("jane.doe@gmail.com", "Gmail"),
        ],
        mailboxes: vec![
            mailbox(0, "inbox", 12_345),
            mailbox(0, "Inbox/Lists/rust", 1),
            mailbox(1, "inbox", 1_204_311),
            mailbox(2, "INBOX", 806),
        ],
        troubles: Vec::new(),
    }
}

pub(super) fn needed() -> Status {
    let mut status = in_sync();
    set(&mut status, 0, SignInStatus::Needed { reason: "No sign-in is kept for this account yet.".to_owned() });
    set(&mut status, 1, SignInStatus::Needed { reason: "The last sign-in has ended.".to_owned() });
    for mailbox in &mut status.mailboxes[..3] {
        mailbox.activity = Activity::Waiting;
        mailbox.synced_at = None;
    }
    status
}

pub(super) fn in_browser() -> Status {
    let mut status = in_sync();
    set(&mut status, 0, SignInStatus::InBrowser);
    status
}

pub(super) fn with_code() -> Status {
    let mut status = in_sync();
    let sign_in = SignInStatus::WithCode {
        user_code: "GTHK-QPXW".to_owned(),
        address: "https://microsoft.com/devicelogin".to_owned(),
        expires_at: unix_now() + 872,
    };
    set(&mut status, 0, sign_in);
    status
}

pub(super) fn failed() -> Status {
    let mut status = in_sync();
    let sign_in = SignInStatus::Failed {
        reason: "The organisation doesn’t allow this program yet.".to_owned(),
        remedy: Some("Ask its administrator to approve “Cloud MailDir Sync”, then try again.".to_owned()),
    };
    set(&mut status, 0, sign_in);
    status
}

pub(super) fn keyring() -> Status {
    let mut status = in_sync();
    set(&mut status, 0, SignInStatus::WaitingForKeyring);
    status
}

pub(super) fn unreachable() -> Status {
    let mut status = in_sync();
    set(&mut status, 0, SignInStatus::Unreachable { reason: "login.microsoftonline.com doesn’t answer.".to_owned() });
    status
}

pub(super) fn syncing() -> Status {
    let mut status = in_sync();
    status.mailboxes[0].activity = Activity::Downloading { done: 4_210, total: 12_345, seconds_left: Some(507) };
    status.mailboxes[1].activity = Activity::Changing;
    status.mailboxes[2].activity = Activity::Listing { done: 18_000, total: None };
    status.mailboxes[3].activity = Activity::Listing { done: 200, total: Some(806) };
    status
}

pub(super) fn trouble() -> Status {
    let mut status = in_sync();
    status.mailboxes[1].trouble = Some(Trouble {
        what: "~/mail/rust can’t be written: the disk is full.".to_owned(),
        remedy: Some("Make room; nothing is lost, and it goes on by itself.".to_owned()),
    });
    status
}

pub(super) fn held() -> Status {
    let mut status = in_sync();
    let sample = |subject: &str, sender: &str| Headline {
        subject: subject.to_owned(),
        sender: sender.to_owned(),
        received: "2026-11-26T12:00:00Z".to_owned(),
    };
    status.mailboxes[0].held = vec![HeldReport {
        id: "0123456789abcdef".to_owned(),
        account: 0,
        mailbox: "inbox".to_owned(),
        gone_from_cloud: false,
        count: 9_000,
        of: 12_345,
        cause: "9000 of 12345 messages of `inbox` were deleted here".to_owned(),
        samples: vec![sample("Minutes of Monday", "Ann <ann@example.com>"), sample("", "joe@example.com")],
        directory: None,
    }];
    status
}

pub(super) fn starting() -> Status {
    let mut status = in_sync();
    for account in &mut status.accounts {
        account.sign_in = SignInStatus::Unknown;
    }
    status
}

/// Changes the sign-in of one account.
pub(super) fn set(status: &mut Status, account: usize, sign_in: SignInStatus) {
    status.accounts[account].sign_in = sign_in;
}

fn account(name: &str, service: &str) -> AccountStatus {
    let sign_in =
        SignInStatus::SignedIn { user: Some(name.to_owned()), renewed_at: Some(unix_now() - 1500), kept: true };
    AccountStatus { name: name.to_owned(), service: service.to_owned(), sign_in }
}

fn mailbox(account: usize, name: &str, messages: u64) -> MailboxStatus {
    let synced_at = Some(unix_now() - 190);
    MailboxStatus {
        account,
        name: name.to_owned(),
        messages,
        activity: Activity::Idle,
        synced_at,
        trouble: None,
        held: Vec::new(),
    }
}
