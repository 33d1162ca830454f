//! When to try again: arithmetic on what is given, without a clock or dice.

use std::time::{Duration, SystemTime};

use cms_auth::AuthError;

use super::failure::Failure;

/// How long to wait after failures, and how often to try.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The longest wait before the second try; doubled for each further one.
    pub first_delay: Duration,
    /// No wait that we choose ourselves is longer.
    pub longest_delay: Duration,
    /// How often a request is tried in all when the network fails.
    pub network_tries: u32,
    /// How often a request is tried in all when the service fails with 5xx.
    pub service_tries: u32,
    /// How often a request is tried in all when the service fails on this one object, or makes no sense.
    pub object_tries: u32,
    /// A pause longer than this, asked for by the service, isn't waited for inside a call.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(60),
            network_tries: 4,
            service_tries: 6,
            object_tries: 3,
            longest_pause: Duration::from_secs(120),
        }
    }
}

/// How long silence is taken for work.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Between two sounds of a connection that we wait on.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), read: Duration::from_secs(30) }
    }
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Get another access token, then try again at once.
    RenewToken,
    /// A fresh token is refused as well: get one that the user has signed in for, then try again at once.
    SignInAnew,
    /// Wait, then try again; nobody else need wait.
    Wait(Duration),
    /// Wait, then try again, and let no other call to the mailbox begin before that.
    HoldAll(Duration),
    /// The service wants a pause too long to wait for in here. No other call should begin before it is over.
    TooLong(Duration),
    /// It makes no sense to try again.
    GiveUp,
}

/// What happened to a call so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    pub(crate) network: u32,
    pub(crate) service: u32,
    pub(crate) object: u32,
    pub(crate) throttled: u32,
    pub(crate) renewed: bool,
    /// Whether a token was had that was to meet a claims challenge.
    pub(crate) challenged: bool,
    pub(crate) signed_in_anew: bool,
}

impl RetryPolicy {
    /// A wait before try number `failures + 1`: anything from nothing to a bound that doubles (full jitter).
    ///
    /// `random` is from 0 up to, but not including, 1.
    pub fn backoff(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.first_delay.saturating_mul(1 << doublings).min(self.longest_delay);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Decides after `failure`, which `history` doesn't count yet, and counts it.
    pub(crate) fn decide(&self, failure: &Failure, history: &mut History, random: f64) -> Verdict {
        let try_again = |count: &mut u32, tries: u32| {
            *count += 1;
            if *count >= tries { Verdict::GiveUp } else { Verdict::Wait(self.backoff(*count, random)) }
        };
        match failure {
            Failure::Network(_) | Failure::Auth(AuthError::Unreachable(_)) => {
                try_again(&mut history.network, self.network_tries)
            }
            Failure::Senseless(_) => try_again(&mut history.object, self.object_tries),
            Failure::Auth(_) => Verdict::GiveUp,
            Failure::Status(error) => match error.status {
                // A policy that wants another sign-in has been seen to come as 403 as well (Microsoft Graph errors).
                status if status == 401 || (status == 403 && error.claims.is_some()) => {
                    // A token that had only expired is renewed without what a challenge asks for then.
                    let challenged = error.claims.is_some();
                    if !history.renewed || (challenged && !history.challenged) {
                        history.renewed = true;
                        history.challenged |= challenged;
                        Verdict::RenewToken
                    } else if !history.signed_in_anew
                        && (error.is("InvalidAuthenticationToken") || error.claims.is_some())
                    {
                        history.signed_in_anew = true;
                        Verdict::SignInAnew
                    } else {
                        Verdict::GiveUp
                    }
                }
                429 => self.pause(error.retry_after, history, random),
                503 if error.retry_after.is_some() => self.pause(error.retry_after, history, random),
                503 | 509 => {
                    history.service += 1;
                    if history.service >= self.service_tries {
                        Verdict::GiveUp
                    } else {
                        Verdict::HoldAll(self.backoff(history.service, random).max(self.first_delay / 2))
                    }
                }
                500 if error.concerns_one_object() => try_again(&mut history.object, self.object_tries),
                404 if error.may_flap() => try_again(&mut history.object, 2),
                408 | 500 | 502 | 504 => try_again(&mut history.service, self.service_tries),
                _ => Verdict::GiveUp,
            },
        }
    }

    /// A pause that the service asks for. It is never a reason to give up, only, if long, to wait elsewhere.
    fn pause(&self, asked: Option<Duration>, history: &mut History, random: f64) -> Verdict {
        history.throttled = history.throttled.saturating_add(1);
        let own = self.backoff(history.throttled, random);
        let pause = match asked {
            // What is asked for proves too little if it has to be asked for again and again.
            Some(asked) if history.throttled > 2 => asked.max(own),
            Some(asked) => asked,
            None => own.max(self.first_delay),
        };
        if pause > self.longest_pause { Verdict::TooLong(pause) } else { Verdict::HoldAll(pause) }
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3), as a wait from `now`.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(24 * 3600)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date has whole seconds, so a part of one is lost to rounding; a date that has passed means now.
    Some(date.duration_since(now).unwrap_or_default().min(Duration::from_secs(24 * 3600)))
}

#[cfg(test)]
mod tests {
    use super::super::failure::ServiceError;
    use super::*;

    fn status(status: u16, code: &str, retry_after: Option<u64>) -> Failure {
        Failure::Status(ServiceError {
            status,
            code: code.to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
            ..ServiceError::default()
        })
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let policy = RetryPolicy::default();
        let most: Vec<u64> = (1..=9).map(|failures| policy.backoff(failures, 1.0).as_secs()).collect();
        assert_eq!(most, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(policy.backoff(5, 0.0), Duration::ZERO);
        assert_eq!(policy.backoff(3, 0.5), Duration::from_secs(2));
        assert_eq!(policy.backoff(u32::MAX, 1.0).as_secs(), 60);
    }

    #[test]
    fn what_the_service_asks_for_is_waited_to_the_second_by_all() {
        let policy = RetryPolicy::default();
        let mut history = History::default();
        let verdict = policy.decide(&status(429, "ApplicationThrottled", Some(17)), &mut history, 0.99);
        assert_eq!(verdict, Verdict::HoldAll(Duration::from_secs(17)));
        let verdict = policy.decide(&status(503, "", Some(3)), &mut history, 0.99);
        assert_eq!(verdict, Verdict::HoldAll(Duration::from_secs(3)));
        let verdict = policy.decide(&status(429, "", Some(600)), &mut history, 0.0);
        assert_eq!(verdict, Verdict::TooLong(Duration::from_secs(600)));
    }

    #[test]
    fn f10_throttling_alone_never_gives_up_and_never_waits_nothing() {
        let policy = RetryPolicy::default();
        let mut history = History::default();
        for _ in 0..1000 {
            match policy.decide(&status(429, "", None), &mut history, 0.0) {
                Verdict::HoldAll(wait) => assert!(wait >= policy.first_delay),
                other => panic!("{other:?}"),
            }
        }
        // Always one second is what some mailboxes ask for however often they are asked.
        assert!(
            matches!(policy.decide(&status(429, "", Some(1)), &mut history, 0.9), Verdict::HoldAll(wait) if wait.as_secs() > 30)
        );
    }

    #[test]
    fn a_token_is_renewed_once() {
        let policy = RetryPolicy::default();
        let mut history = History::default();
        assert_eq!(policy.decide(&status(401, "", None), &mut history, 0.0), Verdict::RenewToken);
        assert_eq!(policy.decide(&status(401, "", None), &mut history, 0.0), Verdict::GiveUp);
    }

    #[test]
    fn a_challenge_is_met_once_whether_or_not_the_token_had_expired_before() {
        let policy = RetryPolicy::default();
        for expired in [false, true] {
            for refusal in [401, 403] {
                let mut history = History::default();
                if expired {
                    let verdict = policy.decide(&status(401, "InvalidAuthenticationToken", None), &mut history, 0.0);
                    assert_eq!(verdict, Verdict::RenewToken);
                }
                let error = ServiceError { status: refusal, claims: Some("{}".to_owned()), ..ServiceError::default() };
                let verdicts = [(); 3].map(|()| policy.decide(&Failure::Status(error.clone()), &mut history, 0.0));
                assert_eq!(verdicts, [Verdict::RenewToken, Verdict::SignInAnew, Verdict::GiveUp]);
            }
        }
    }

    #[test]
    fn refusals_are_final_and_failures_are_tried_a_bounded_number_of_times() {
        let policy = RetryPolicy::default();
        for (code, name, tries) in [
            (400, "ErrorInvalidIdMalformed", 1),
            (403, "ErrorAccessDenied", 1),
            (404, "ErrorItemNotFound", 1),
            (404, "ResourceNotFound", 2),
            (412, "ErrorIrresolvableConflict", 1),
            (500, "ErrorMimeContentConversionFailed", 3),
            (500, "ErrorInternalServerError", 6),
            (502, "", 6),
            (503, "", 6),
        ] {
            let mut history = History::default();
            let mut tried = 1;
            while policy.decide(&status(code, name, None), &mut history, 0.5) != Verdict::GiveUp {
                tried += 1;
            }
            assert_eq!(tried, tries, "{code} {name}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }
}
