//! What makes it worth asking the cloud at once: the user's signal, somebody who looks at the page, a network that came
//! up, waking from sleep.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tracing::debug;

use crate::page::Board;
use crate::sync::tasks::Event;

/// The groups of rtnetlink(7) that tell of addresses: `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;

/// A network comes up in several steps, which are one alarm.
const NETWORK_SETTLES: Duration = Duration::from_secs(1);

/// Why the cloud is asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// SIGUSR1.
    Signal,
    /// The page was opened.
    Page,
    /// An address of this machine came or went.
    Network,
    /// The clock was set, as it is when a computer wakes from sleep.
    Clock,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "asked by SIGUSR1",
            Self::Page => "somebody looks at the page",
            Self::Network => "the network has changed",
            Self::Clock => "the clock was set, or this machine has slept",
        })
    }
}

/// Tells of all alarms for as long as somebody listens. What can't be heard on this machine isn't told, and polls come in
/// their time.
pub(crate) async fn listen(events: Sender<Event>, board: Option<Board>) {
    let unheard = |what: &str, error: &io::Error| debug!(%error, "{what} isn't heard here");
    tokio::join!(
        hear_page(&events, board),
        async {
            if let Err(error) = hear_signals(&events).await {
                unheard("SIGUSR1", &error);
            }
        },
        async {
            if let Err(error) = hear_network(&events).await {
                unheard("the network", &error);
            }
        },
        async {
            if let Err(error) = hear_clock(&events).await {
                unheard("the clock", &error);
            }
        },
    );
}

async fn hear_signals(events: &Sender<Event>) -> io::Result<()> {
    let mut user = signal(SignalKind::user_defined1())?;
    while user.recv().await.is_some() && tell(events, Alarm::Signal).await {}
    Ok(())
}

async fn hear_page(events: &Sender<Event>, board: Option<Board>) {
    let Some(board) = board else { return };
    loop {
        let before = board.open_tabs();
        board.tabs_changed().await;
        if board.open_tabs() > before && !tell(events, Alarm::Page).await {
            return;
        }
    }
}

async fn hear_network(events: &Sender<Event>) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        // NETLINK_ROUTE is the protocol 0.
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_GROUPS))?;
    let socket = asynchronous(socket)?;
    loop {
        drain(&socket).await?;
        tokio::time::sleep(NETWORK_SETTLES).await;
        if !tell(events, Alarm::Network).await {
            return Ok(());
        }
    }
}

fn asynchronous(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[allow(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd keeps what that asks for: one descriptor, open till dropped"
    )]
    AsyncFd::new(descriptor)
}

/// Waits for messages and reads all of them. That there are some is all that matters.
async fn drain(socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut buffer = [0_u8; 8192];
    let mut came = false;
    loop {
        let mut ready = socket.readable().await?;
        let read = ready.try_io(|socket| Ok(rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?));
        match read {
            Ok(Ok(_)) => came = true,
            // The kernel dropped some: there were too many.
            Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => came = true,
            Ok(Err(error)) => return Err(error),
            Err(_would_block) if came => return Ok(()),
            Err(_would_block) => {}
        }
    }
}

async fn hear_clock(events: &Sender<Event>) -> io::Result<()> {
    let timer = rustix::time::timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let timer = asynchronous(timer)?;
    loop {
        // It never goes off by itself; that the clock was set is told as a timer that was cancelled (timerfd_create(2)).
        let never = Timespec { tv_sec: i64::from(u32::MAX) * 16, tv_nsec: 0 };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: never };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
        let mut buffer = [0_u8; 8];
        let cancelled = loop {
            let mut ready = timer.readable().await?;
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut buffer)?)) {
                Ok(Ok(_)) => break Ok(()),
                Ok(Err(error)) => break Err(error),
                Err(_would_block) => {}
            }
        };
        match cancelled {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::CANCELED.raw_os_error()) => {
                return Err(error);
            }
            _ if tell(events, Alarm::Clock).await => {}
            _ => return Ok(()),
        }
    }
}

/// Returns whether anybody listens.
async fn tell(events: &Sender<Event>, alarm: Alarm) -> bool {
    events.send(Event::Alarm(alarm)).await.is_ok()
}
