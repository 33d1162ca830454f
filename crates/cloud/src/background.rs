//! Work that nobody waits for.

use crate::http::Urgency;

tokio::task_local! {
    static BACKGROUND: ();
}

/// Does some work whose requests let all others go first, and leave them a part of what the service allows.
pub async fn in_background<T>(work: impl Future<Output = T>) -> T {
    BACKGROUND.scope((), work).await
}

/// How urgent a request is, where it is made.
pub(crate) fn urgency_here(otherwise: Urgency) -> Urgency {
    if BACKGROUND.try_with(|()| ()).is_ok() { Urgency::Bulk } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_in_the_background_is_never_urgent() {
        assert_eq!(urgency_here(Urgency::Urgent), Urgency::Urgent);
        in_background(async { assert_eq!(urgency_here(Urgency::Urgent), Urgency::Bulk) }).await;
        assert_eq!(urgency_here(Urgency::Urgent), Urgency::Urgent);
    }
}
