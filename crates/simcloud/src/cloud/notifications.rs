//! What fate does to those who listen for notifications.

use super::Cloud;

impl Cloud {
    /// How many subscriptions are listened for, as often as they are.
    pub fn notification_channels(&self) -> usize {
        self.inner().subscriptions.channels()
    }

    /// Breaks the connections over which notifications come.
    pub fn cut_notifications(&self) {
        self.inner().subscriptions.cut();
    }

    /// Ends these connections as if their time were over.
    pub fn end_notifications(&self) {
        self.inner().subscriptions.end();
    }

    /// Lets nothing more come over these connections, not even keep-alives, and leaves them open: a dead link. Connections
    /// that are made from now on work.
    pub fn silence_notifications(&self) {
        self.inner().subscriptions.silence();
    }

    /// Tells all who listen that notifications were lost.
    pub fn miss_notifications(&self) {
        self.inner().subscriptions.miss();
    }

    /// Forgets all subscriptions to notifications.
    pub fn expire_subscriptions(&self) {
        self.inner().subscriptions.expire();
    }
}
