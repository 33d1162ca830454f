//! Being told of changes by the mail service. Polls are an hour apart here: what arrives sooner was told.

use simcloud::{Action, Fault, FlagStatus, Knobs, NotificationService, Options};

use crate::world::{Running, USER, World, wait_for};

/// What the daemon says once it listens.
const LISTENS: &str = "the mail service tells of changes as they happen";

/// A world with two mailboxes, whose changes are noticed in such a way.
fn world(push: &str, notifications: NotificationService) -> World {
    world_of([push, push], notifications)
}

/// The same with another way for each mailbox.
fn world_of([inbox, lists]: [&str; 2], notifications: NotificationService) -> World {
    let knobs = Knobs { notifications, notifications_cut_seed: 5, ..Knobs::calm() };
    let folders = vec![("Inbox/Lists".to_owned(), 2)];
    let world = World::with(Options { messages: 3, folders, knobs, ..Options::default() });
    let url = &world.url;
    world.configure(&format!(
        r#"
outlook = Office365_Account(user="{USER}", login_url="{url}", graph_url="{url}", owa_url="{url}")
inbox = MailDir("INBOX")
lists = MailDir("Lists")
Office365("inbox", outlook, push="{inbox}")
Office365("Inbox/Lists", outlook, push="{lists}")
def direct(msg):
    return lists if msg.mailbox == "Inbox/Lists" else inbox
cfg.direct_message = direct
cfg.poll_interval = "1h"
"#
    ));
    world
}

impl World {
    /// How many rounds of polling a folder had.
    pub(crate) fn rounds(&self, folder: &str) -> usize {
        let id = self.cloud.folder_id("", folder).unwrap();
        let is_its = |target: &str| target.contains(&id) || target.contains(&id.replace('=', "%3D"));
        let requests = self.cloud.requests(0);
        let targets = requests.iter().flat_map(|request| request.items.iter().chain([&request.target]));
        targets.filter(|target| target.contains("/delta") && is_its(target)).count()
    }

    /// A message comes, and is here before anybody asks for it.
    #[track_caller]
    pub(crate) fn is_told_of(&self, folder: &str, maildir: &str, subject: &str) {
        self.receive(folder, subject);
        wait_for(&format!("`{subject}` is here"), || self.files_of(maildir, subject).len() == 1);
    }

    /// The message `there` is flagged here, and is so in the cloud.
    #[track_caller]
    fn a_flag_goes_there(&self, id: &str) {
        self.set_letters("INBOX", &self.file_of("INBOX", "there"), "FS");
        wait_for("the flag is there", || self.message(id).is_some_and(|message| message.flag == FlagStatus::Flagged));
    }
}

/// Starts the daemon and waits until it listens, and has looked once more after that.
fn listening(world: &World) -> Running {
    let daemon = world.daemon();
    daemon.wait_for_line(LISTENS);
    wait_for("it has looked again", || world.rounds("Inbox") > 1 && world.rounds("Inbox/Lists") > 1);
    daemon
}

#[test]
fn what_is_told_is_looked_at_and_nothing_else() {
    let world = world("stream", NotificationService::Live);
    let daemon = listening(&world);
    world.is_told_of("Inbox/Lists", "Lists", "told");
    let others = world.rounds("Inbox");
    for subject in ["one", "two", "three"] {
        world.is_told_of("Inbox/Lists", "Lists", subject);
    }
    world.wait_until_same("Lists", "Inbox/Lists");
    // A second look where nothing was found came before this, if any did.
    assert_eq!(world.asked("notifications"), 1);
    assert!(world.rounds("Inbox") <= others + 1, "{} rounds of the other mailbox", world.rounds("Inbox"));
    world.is_told_of("Inbox", "INBOX", "other");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

/// The service tells of a message before its listing has it.
#[test]
fn what_the_listing_tells_late_is_found_all_the_same() {
    let world = world("stream", NotificationService::Live);
    let daemon = listening(&world);
    world.cloud.turn(|knobs| knobs.delta_lag_ms = 1500);
    world.is_told_of("Inbox", "INBOX", "late");
    world.cloud.turn(|knobs| knobs.delta_lag_ms = 0);
    for at in 0..10 {
        world.receive("Inbox", &format!("many {at}"));
    }
    world.wait_until_same("INBOX", "Inbox");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn tokens_and_subscriptions_may_expire_while_listening() {
    let world = world("stream", NotificationService::Live);
    let daemon = listening(&world);
    world.cloud.expire_access_tokens();
    world.is_told_of("Inbox", "INBOX", "after the token");
    world.cloud.expire_subscriptions();
    world.is_told_of("Inbox/Lists", "Lists", "after the subscription");
    world.cloud.cut_notifications();
    world.is_told_of("Inbox", "INBOX", "after the connection");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn f32_a_dead_link_to_the_notifications_is_noticed() {
    let world = world("stream", NotificationService::Live);
    let daemon = listening(&world);
    world.cloud.silence_notifications();
    world.is_told_of("Inbox", "INBOX", "over the dead link");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

/// However long that takes.
#[test]
fn while_nothing_is_heard_polls_come_as_often_as_without_a_stream() {
    let world = world("stream", NotificationService::Live);
    let daemon = listening(&world);
    world.cloud.inject(Fault::always("notifications", Action::status(503)));
    world.cloud.cut_notifications();
    for subject in ["one", "two"] {
        world.is_told_of("Inbox", "INBOX", subject);
    }
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

#[test]
fn a_mailbox_that_nobody_tells_of_is_polled_as_often_as_without_a_stream() {
    let world = world_of(["stream", "poll"], NotificationService::Live);
    let daemon = listening(&world);
    for subject in ["one", "two"] {
        world.is_told_of("Inbox/Lists", "Lists", subject);
    }
    world.is_told_of("Inbox", "INBOX", "told");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

/// The mail is read without it, the user isn't bothered, and it is neither asked for again nor told of again.
#[test]
fn a_service_that_has_retired_is_asked_once_a_day() {
    let world = world("auto", NotificationService::Retired);
    let id = world.receive_read("Inbox", "there");
    let daemon = world.daemon();
    daemon.wait_for_line("there are no notifications of changes");
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(
        stopped.stderr.contains("410") && stopped.stderr.contains("mail is polled for instead"),
        "{}",
        stopped.stderr
    );
    assert_eq!((world.asked("subscription"), world.asked("notifications")), (1, 0));
    assert_eq!(world.asked("authorize"), 1);

    let daemon = world.daemon();
    // A change that is made takes longer than the question would.
    world.a_flag_goes_there(&id);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(!stopped.stderr.contains("notifications"), "{}", stopped.stderr);
    assert_eq!(world.asked("subscription"), 1);

    // A day later it may be back.
    let mut state = cms_store::Database::open(&world.path(".cms")).unwrap();
    let key = format!("no notifications at office365 {USER}");
    let at: i64 = state.meta(&key).unwrap().expect("it is written down").parse().unwrap();
    state.set_meta(&key, &(at - 86_400).to_string()).unwrap();
    drop(state);
    let daemon = world.daemon();
    wait_for("it is asked again", || world.asked("subscription") == 2);
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}

/// With "auto" nobody is asked to consent to anything more, so that there is none here.
#[test]
fn without_consent_there_are_no_notifications_and_the_sign_in_stands() {
    let world = world("auto", NotificationService::Live);
    let id = world.receive_read("Inbox", "there");
    let daemon = world.daemon();
    daemon.wait_for_line("there are no notifications of changes");
    assert!(daemon.stderr().contains("65001"), "{}", daemon.stderr());
    world.a_flag_goes_there(&id);
    assert!(daemon.stop().status.success());
    assert_eq!((world.asked("authorize"), world.asked("notifications")), (1, 0));
    world.assert_lawful();
}

#[test]
fn a_mailbox_that_is_polled_asks_for_no_notifications() {
    let world = world("poll", NotificationService::Live);
    let id = world.receive_read("Inbox", "there");
    let daemon = world.daemon();
    world.a_flag_goes_there(&id);
    assert!(daemon.stop().status.success());
    assert_eq!((world.asked("subscription"), world.asked("notifications")), (0, 0));
    // One run ends when both sides are the same, and nobody is to tell it anything.
    let text = std::fs::read_to_string(world.path("cms.cfg")).unwrap();
    std::fs::write(world.path("cms.cfg"), text.replace("push=\"poll\"", "push=\"stream\"")).unwrap();
    world.sync();
    assert_eq!((world.asked("subscription"), world.asked("notifications")), (0, 0));
    world.assert_lawful();
}

/// Whoever wants the notifications in any case hears once that they aren't there, and gets them when they are.
#[test]
fn a_stream_is_tried_again_until_it_is_there() {
    let world = world("stream", NotificationService::NotFound);
    let daemon = world.daemon();
    daemon.wait_for_line("there are no notifications of changes");
    world.cloud.turn(|knobs| knobs.notifications = NotificationService::Live);
    daemon.wait_for_line(LISTENS);
    world.is_told_of("Inbox", "INBOX", "told");
    assert!(daemon.stop().status.success());
    world.assert_lawful();
}
