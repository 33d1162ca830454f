//! The streaming notifications, against a simulated service that still has them.

use std::time::Duration;

use cms_auth::{
    AccessTokens as _, Endpoints, NationalCloud, Patience, Registration, SignInState, TokenSource, TokenSourceOptions,
};
use cms_cloud::contract::{FolderId, Notifications, Notifier as _, Wake};
use cms_cloud::office365::{NOTIFICATIONS_SCOPE, NotifierOptions, StreamingNotifier};
use simcloud::{Action, Fault, Knobs, NewMessage, NotificationService, Server};

use crate::support::browse;

/// How long anything may take before a test gives up on it.
const LONG: Duration = Duration::from_secs(30);

struct World {
    server: Server,
    source: TokenSource,
    folders: [FolderId; 2],
    listening: Box<dyn Notifications>,
}

impl World {
    async fn new(knobs: Knobs, consents: bool) -> Self {
        let server = simcloud::serve(simcloud::Options { knobs, ..simcloud::Options::default() }).await.unwrap();
        let url: url::Url = server.url().parse().unwrap();
        let mut registration = Registration::microsoft(NationalCloud::Global, None, None).with_graph_at(&url);
        registration.endpoints = Endpoints::Microsoft { login_url: url.clone(), tenant: "common".to_owned() };
        let scopes = vec![NOTIFICATIONS_SCOPE.to_owned()];
        if consents {
            registration.further_resources = vec![scopes.clone()];
        }
        let user = Some("user@domain.com".to_owned());
        let options = TokenSourceOptions { registration, user, vault: None, port: 8080, patience: Patience::None };
        let source = TokenSource::new(options).unwrap();
        browse(&source).await;
        let mut options = NotifierOptions::new(url);
        options.keep_alive = Duration::from_secs(1);
        options.first_pause = Duration::from_millis(2);
        options.longest_pause = Duration::from_millis(50);
        let notifier = StreamingNotifier::new(options, source.beside(scopes)).unwrap();
        let folders = ["inbox", "drafts"].map(|path| FolderId(server.cloud().folder_id("", path).unwrap()));
        let listening = notifier.listen(folders.to_vec());
        Self { server, source, folders, listening }
    }

    /// One in which all is well, and that has begun to listen.
    async fn listening() -> Self {
        let knobs = Knobs { notifications: NotificationService::Live, notifications_cut_seed: 11, ..Knobs::calm() };
        let mut world = Self::new(knobs, true).await;
        assert_eq!(world.next().await, Wake::All);
        world
    }

    async fn next(&mut self) -> Wake {
        tokio::time::timeout(LONG, self.listening.next()).await.expect("something is told")
    }

    fn deliver(&self, folder: &str) {
        self.server.cloud().add_message("", NewMessage::generated(folder)).unwrap();
    }

    /// How many requests of a kind there were.
    fn requests(&self, kind: &str) -> u64 {
        self.server.cloud().counters().requests.get(kind).copied().unwrap_or_default()
    }

    /// That the notifications are heard again after something was lost.
    async fn hears_again(&mut self) {
        let mut told = self.next().await;
        if told == Wake::Lost {
            told = self.next().await;
        }
        assert_eq!(told, Wake::All);
        for at in [1, 0] {
            self.deliver(["inbox", "drafts"][at]);
            let mut told = self.next().await;
            // Each subscription is told for itself that something was lost.
            while told == Wake::All {
                told = self.next().await;
            }
            assert_eq!(told, Wake::Folder(self.folders[at].clone()));
        }
        let violations = self.server.cloud().counters().violations;
        assert!(violations.is_empty(), "{violations:?}");
    }

    async fn is_unavailable(&mut self, why: &str) {
        match self.next().await {
            Wake::Unavailable { reason } => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(self.source.state(), SignInState::SignedIn { .. }));
    }
}

#[tokio::test]
async fn each_folder_is_told_of_by_itself_over_one_connection() {
    let mut world = World::listening().await;
    world.deliver("sentitems");
    for at in [0, 1, 1, 0] {
        world.deliver(["inbox", "drafts"][at]);
        assert_eq!(world.next().await, Wake::Folder(world.folders[at].clone()));
    }
    // The first time without a token.
    assert_eq!((world.requests("subscription"), world.requests("notifications")), (3, 1));
    world.server.cloud().miss_notifications();
    world.hears_again().await;
}

#[tokio::test]
async fn a_connection_that_breaks_or_ends_is_made_again() {
    let mut world = World::listening().await;
    world.server.cloud().cut_notifications();
    world.hears_again().await;
    world.server.cloud().end_notifications();
    world.hears_again().await;
    assert_eq!(world.requests("subscription"), 3, "the subscriptions live on");
}

#[tokio::test]
async fn a_token_that_expires_while_listening_is_replaced() {
    let mut world = World::listening().await;
    let before = world.requests("token");
    world.server.cloud().expire_access_tokens();
    world.deliver("inbox");
    world.hears_again().await;
    assert_eq!(world.requests("token"), before + 1);
}

#[tokio::test]
async fn subscriptions_that_are_gone_are_made_again() {
    let mut world = World::listening().await;
    world.server.cloud().expire_subscriptions();
    world.hears_again().await;
    assert_eq!(world.requests("subscription"), 5);
}

#[tokio::test]
async fn f32_a_dead_link_is_known_by_its_silence() {
    let mut world = World::listening().await;
    world.server.cloud().silence_notifications();
    assert_eq!(world.next().await, Wake::Lost);
    world.hears_again().await;
}

#[tokio::test]
async fn faults_pass() {
    let mut world = World::listening().await;
    for action in [
        Action::status(500),
        Action::throttled(0),
        Action::status(400),
        Action::ResetBefore,
        Action::ResetAfter,
        Action::Html,
        Action::Garbage,
    ] {
        world.server.cloud().inject(Fault::once("notifications", action));
    }
    for action in [Action::status(503), Action::ResetAfter, Action::Garbage, Action::Html] {
        world.server.cloud().inject(Fault::once("subscription", action));
    }
    let cloud = world.server.cloud().clone();
    cloud.expire_subscriptions();
    while cloud.faults().iter().any(|fault| fault.fired == 0) {
        let told = world.next().await;
        assert!(matches!(told, Wake::Lost | Wake::All), "{told:?}");
    }
    world.server.cloud().cut_notifications();
    loop {
        world.deliver("drafts");
        if world.next().await == Wake::Folder(world.folders[1].clone()) {
            break;
        }
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_is_nobody_elses_concern() {
    let knobs = Knobs { notifications: NotificationService::Live, ..Knobs::calm() };
    let mut world = World::new(knobs, true).await;
    let gone = Action::Status {
        status: 404,
        body: simcloud::BodyKind::Json,
        code: "ErrorItemNotFound".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    // The first question is whether the interface is there at all.
    world.server.cloud().inject(Fault { skip: 1, ..Fault::once("subscription", gone) });
    assert_eq!(world.next().await, Wake::All);
    world.deliver("drafts");
    assert_eq!(world.next().await, Wake::Folder(world.folders[1].clone()));
}

#[tokio::test]
async fn a_retired_service_is_asked_once_and_for_no_token() {
    for (knob, status) in [(NotificationService::Retired, "410"), (NotificationService::NotFound, "404")] {
        let mut world = World::new(Knobs { notifications: knob, ..Knobs::calm() }, true).await;
        let before = world.requests("token");
        world.is_unavailable(status).await;
        assert_eq!((world.requests("subscription"), world.requests("token")), (1, before));
        let more = tokio::time::timeout(Duration::from_millis(200), world.listening.next()).await;
        assert!(more.is_err(), "{more:?}");
        assert_eq!((world.requests("subscription"), world.requests("token")), (1, before));
    }
}

#[tokio::test]
async fn a_service_that_retires_while_it_is_listened_to_is_left_alone() {
    let mut world = World::listening().await;
    world.server.cloud().turn(|knobs| knobs.notifications = NotificationService::Retired);
    world.server.cloud().cut_notifications();
    assert_eq!(world.next().await, Wake::Lost);
    world.is_unavailable("410").await;
}

#[tokio::test]
async fn what_nobody_consented_to_is_unavailable() {
    let knobs = Knobs { notifications: NotificationService::Live, ..Knobs::calm() };
    let mut world = World::new(knobs, false).await;
    world.is_unavailable("65001").await;
    world.source.access_token().await.unwrap();
}
