//! A started command with all the processes it starts: ended together.
//!
//! ```text
//!   worker ──stdin──▶ watcher ─┐
//!     └──starts──▶ command     ├─ one process group, led by the watcher
//!                    └─ helper ┘
//! ```
//!
//! A worker that is killed can end nothing any more. But its end of the watcher's
//! standard input closes with it, and the watcher then kills the group: before
//! another worker begins the step again, nothing of the first try is left. What
//! leaves the group (`setsid`) gets away.

use tokio::process::Child;
#[cfg(unix)]
use tokio::process::{ChildStdin, Command};

/// Says nothing, hears no signal but the last, and ends its group when its input does.
#[cfg(unix)]
const WATCH: &str = "trap '' HUP INT TERM; read -r _; kill -KILL 0";

/// The process group of a command. Killed when dropped: a handler whose future
/// is dropped at the hard time-out leaves nothing running.
#[derive(Debug)]
pub(super) struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
    /// With the input that keeps it waiting.
    #[cfg(unix)]
    _watcher: Option<(Child, ChildStdin)>,
}

#[cfg(unix)]
impl Group {
    /// A group with nobody in it but the watcher. Without a shell there is none, and
    /// the command is to lead: see [`Group::adopt`].
    pub(super) fn new() -> Self {
        let watcher = Command::new("/bin/sh")
            .args(["-c", WATCH])
            .env_clear()
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .process_group(0)
            .spawn();
        let watcher = watcher.ok().and_then(|mut watcher| {
            let input = watcher.stdin.take()?;
            Some((watcher, input))
        });
        Self {
            leader: watcher.as_ref().and_then(|(watcher, _)| pid(watcher)),
            _watcher: watcher,
        }
    }

    /// Whether the group ends with this process, however that ends.
    pub(super) fn is_watched(&self) -> bool {
        self.leader.is_some()
    }

    /// The group that a command is to join; 0 for one of its own.
    pub(super) fn number(&self) -> i32 {
        self.leader.map_or(0, rustix::process::Pid::as_raw_pid)
    }

    /// Takes a command that was started with [`Group::number`].
    pub(super) fn adopt(&mut self, child: &Child) {
        if self.leader.is_none() {
            self.leader = pid(child);
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(leader) = self.leader {
            // Nobody left to hear it is what we want.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }
}

#[cfg(unix)]
fn pid(child: &Child) -> Option<rustix::process::Pid> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(rustix::process::Pid::from_raw)
}

/// Where there are no process groups, tokio's `kill_on_drop` ends the child alone.
#[cfg(not(unix))]
impl Group {
    pub(super) fn new() -> Self {
        Self {}
    }

    pub(super) fn is_watched(&self) -> bool {
        false
    }

    pub(super) fn adopt(&mut self, _child: &Child) {}
}

impl Group {
    /// Asks all of them to end.
    pub(super) fn terminate(&self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
    }

    /// Ends all of them, once: later the number may be somebody else's.
    pub(super) fn kill(&mut self) {
        #[cfg(unix)]
        {
            self.signal(rustix::process::Signal::KILL);
            self.leader = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
