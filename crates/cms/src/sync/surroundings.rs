//! What a run finds around it besides the disk and the clouds: the time of day, ears, threads. A simulation has its own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cms_engine::UnixSeconds;

/// What a run finds around it.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The time of day.
    pub(crate) now: Arc<dyn Fn() -> UnixSeconds + Send + Sync>,
    /// How long this machine has been running, asleep or not. Nobody can set that.
    pub(crate) uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// What this machine is called, for the names of files.
    pub(crate) host: String,
    /// How long until the watcher's next look at what it heard; nothing where the kernel wakes it.
    pub(crate) deaf_for: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
    /// Whether one thread does everything, so that a run can be repeated exactly.
    pub(crate) single_thread: bool,
    /// Whether signals, the network and the clock are listened to.
    pub(crate) alarms: bool,
}

impl Default for Surroundings {
    /// The system's.
    fn default() -> Self {
        Self {
            now: Arc::new(system_time),
            uptime: Arc::new(system_uptime),
            host: cms_maildir::host_name(),
            deaf_for: None,
            single_thread: false,
            alarms: true,
        }
    }
}

impl Surroundings {
    /// Does what waits for the disk where nothing else has to wait for it.
    pub(crate) async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        if self.single_thread {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

fn system_uptime() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default()
}

fn system_time() -> UnixSeconds {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
