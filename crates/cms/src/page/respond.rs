//! What is asked for, whether it may be, and what comes back.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::{Semaphore, watch};

use super::answer::{self, Answer, Nonce};
use super::board::Board;
use super::desk::{CameBack, Desk};
use super::events;
use super::form::{self, Form};
use super::guard::{self, Key, OwnHost, Refusal};
use super::render::{self, Banner, View};
use super::status::Status;
use super::words::unix_now;

/// Tabs beyond this get the page, but have to be loaded again to see a change.
pub(super) const STREAMS_MAX: usize = 16;
/// How long a form may take to arrive.
const BODY_SILENCE: Duration = Duration::from_secs(10);

/// What every connection shares.
#[derive(Clone)]
pub(super) struct House {
    pub(super) board: Board,
    pub(super) desk: Arc<dyn Desk>,
    pub(super) port: u16,
    pub(super) key: Key,
    pub(super) streams: Arc<Semaphore>,
    /// Turns true when the page is to end.
    pub(super) ended: watch::Receiver<bool>,
}

enum Route {
    Page,
    Events,
    StatusJson,
    SignIn,
    Cancel,
    Held,
    ComingBack,
}

impl Route {
    fn of(path: &str, query: &str, desk: &dyn Desk) -> Option<Self> {
        match path {
            // Some registrations know no other path to come back to. Then the query tells it from a visit.
            "/" if has_state(query) && desk.redirect_paths().iter().any(|redirect| redirect == "/") => {
                Some(Self::ComingBack)
            }
            "/" => Some(Self::Page),
            "/events" => Some(Self::Events),
            "/status.json" => Some(Self::StatusJson),
            "/sign-in" => Some(Self::SignIn),
            "/cancel" => Some(Self::Cancel),
            "/held" => Some(Self::Held),
            path => desk.redirect_paths().iter().any(|redirect| redirect == path).then_some(Self::ComingBack),
        }
    }

    fn changes(&self) -> bool {
        matches!(self, Self::SignIn | Self::Cancel | Self::Held)
    }
}

impl House {
    pub(super) fn view<'a>(&'a self, status: &'a Status, now: i64) -> View<'a> {
        View { status, series: self.board.series(), key: self.key.as_str(), now }
    }

    /// Answers a request.
    pub(super) async fn respond<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let host = match OwnHost::of(&head.headers, self.port) {
            // A request for a whole address names a second host, which only a proxy would need.
            Ok(host) if head.uri.authority().is_none() => host,
            Ok(_) => return refuse(Refusal::Host),
            Err(refusal) => return refuse(refusal),
        };
        let query = head.uri.query().unwrap_or_default();
        let Some(route) = Route::of(head.uri.path(), query, &*self.desk) else {
            return answer::plain(StatusCode::NOT_FOUND, "There is nothing here.");
        };
        if route.changes() {
            if head.method != Method::POST {
                return answer::not_allowed("POST");
            }
            if let Err(refusal) = host.check_change(&head.headers) {
                return refuse(refusal);
            }
            return match self.form(&head.headers, body).await {
                Ok(form) if matches!(route, Route::Held) => self.rule(&form).await,
                Ok(form) => self.change(&route, &form),
                Err(answer) => answer,
            };
        }
        let asks_only = head.method == Method::HEAD;
        if head.method != Method::GET && !asks_only {
            return answer::not_allowed("GET, HEAD");
        }
        let checked = match route {
            Route::Events | Route::StatusJson => host.check_read(&head.headers),
            Route::Page | Route::ComingBack | Route::SignIn | Route::Cancel | Route::Held => {
                guard::check_show(&head.headers)
            }
        };
        if let Err(refusal) = checked {
            return refuse(refusal);
        }
        match route {
            Route::Events => self.events(asks_only),
            Route::StatusJson => {
                answer::json(serde_json::to_string(&self.board.status()).unwrap_or_else(|_| "null".to_owned()))
            }
            // The code is good for one use, and who only asks for the head doesn't see how it ended.
            Route::ComingBack if !asks_only => self.came_back(head.uri.path(), query).await,
            Route::Page | Route::ComingBack | Route::SignIn | Route::Cancel | Route::Held => {
                self.page(StatusCode::OK, None)
            }
        }
    }

    fn events(&self, asks_only: bool) -> Answer {
        if asks_only {
            return answer::events(Box::pin(futures_util::stream::empty()));
        }
        match Arc::clone(&self.streams).try_acquire_owned() {
            Ok(permit) => answer::events(events::follow(self.clone(), permit)),
            Err(_) => answer::plain(StatusCode::SERVICE_UNAVAILABLE, "The page is open in too many tabs."),
        }
    }

    async fn came_back(&self, path: &str, query: &str) -> Answer {
        match self.desk.came_back(path, query).await {
            Some(CameBack { good, heading, words }) => {
                let status = if good { StatusCode::OK } else { StatusCode::BAD_REQUEST };
                self.page(status, Some(&Banner { good, heading, words }))
            }
            None => self.trouble(
                StatusCode::BAD_REQUEST,
                "Not this sign-in",
                "The browser came back from a sign-in that isn't waited for. It may have been given up, or finished \
                 in another tab.",
            ),
        }
    }

    async fn form<B>(&self, headers: &HeaderMap, body: B) -> Result<Form, Answer>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !form::is_form(headers) {
            return Err(answer::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only a form can be sent here."));
        }
        if body.size_hint().lower() > form::BYTES_MAX as u64 {
            return Err(answer::plain(StatusCode::PAYLOAD_TOO_LARGE, "That is too much."));
        }
        match tokio::time::timeout(BODY_SILENCE, Limited::new(body, form::BYTES_MAX).collect()).await {
            Ok(Ok(body)) => match form::parse(&body.to_bytes()) {
                Some(form) => self.key.check(&form.key).map(|()| form).map_err(refuse),
                None => Err(answer::plain(StatusCode::BAD_REQUEST, "The form says something twice.")),
            },
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(answer::plain(StatusCode::PAYLOAD_TOO_LARGE, "That is too much."))
            }
            Ok(Err(_)) => Err(answer::plain(StatusCode::BAD_REQUEST, "The form didn't arrive whole.")),
            Err(_) => Err(answer::plain(StatusCode::REQUEST_TIMEOUT, "The form didn't arrive.")),
        }
    }

    /// Does what a form of ours asks for; it was checked that it is ours.
    fn change(&self, route: &Route, form: &Form) -> Answer {
        let known = self.board.status().accounts.len();
        let Some(account) = form.account.filter(|account| *account < known) else {
            return self.trouble(StatusCode::BAD_REQUEST, "There is no such account", "Please choose one of these.");
        };
        if matches!(route, Route::Cancel) {
            self.desk.cancel(account);
            return answer::to_page();
        }
        match form.method {
            Some(form::Method::Browser) => match self.desk.begin(account) {
                Ok(address) => answer::to_sign_in(&address).unwrap_or_else(|| {
                    tracing::warn!(origin = address.origin().ascii_serialization(), "Sign-in address is not safe");
                    self.cannot_begin("The address of the sign-in service is not safe: it must begin with https.")
                }),
                Err(reason) => self.cannot_begin(&reason),
            },
            Some(form::Method::Code) => match self.desk.begin_with_code(account) {
                Ok(()) => answer::to_page(),
                Err(reason) => self.cannot_begin(&reason),
            },
            None => self.trouble(StatusCode::BAD_REQUEST, "There is no such way to sign in", "Please choose again."),
        }
    }

    /// Takes the user's word on held deletions; it was checked that the form is ours.
    async fn rule(&self, form: &Form) -> Answer {
        let (Some(held), Some(word)) = (&form.held, form.word) else {
            return self.trouble(StatusCode::BAD_REQUEST, "That can’t be said", "Please choose one of the buttons.");
        };
        match self.desk.rule(held, word).await {
            Ok(()) => answer::to_page(),
            Err(reason) => self.trouble(StatusCode::CONFLICT, "Nothing was done", &reason),
        }
    }

    fn cannot_begin(&self, reason: &str) -> Answer {
        self.trouble(StatusCode::CONFLICT, "The sign-in could not begin", reason)
    }

    fn trouble(&self, status: StatusCode, heading: &str, words: &str) -> Answer {
        self.page(status, Some(&Banner { good: false, heading: heading.to_owned(), words: words.to_owned() }))
    }

    fn page(&self, status: StatusCode, banner: Option<&Banner>) -> Answer {
        let nonce = Nonce::new();
        let shown = self.board.status();
        let html = render::page(&self.view(&shown, unix_now()), banner, &nonce);
        answer::page(status, html, &nonce, &self.desk.sign_in_origins())
    }
}

fn refuse(refusal: impl Display) -> Answer {
    answer::plain(StatusCode::FORBIDDEN, &refusal.to_string())
}

fn has_state(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "state")
}
