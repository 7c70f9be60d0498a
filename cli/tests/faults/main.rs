//! Faults, one after the other, under load, against real processes: workers that are killed or stand
//! still, servers that are killed while clients submit, clocks that are wrong, a Redis that forgets,
//! restarts, stalls or is full, a PostgreSQL that restarts, is away for long or drops connections, tickets that lie,
//! cancels that race with ends, commits that panic.
//!
//! `cargo test -p aquatint --test faults` runs each once, briefly;
//! `cargo test -p aquatint --test faults -- --long` runs each several times and keeps Redis away for a
//! minute. A table says what was lost (nothing may be), recorded twice (nothing may be), and how long
//! it took until new work went through again.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod faults;
mod front;
mod load;
mod reach;
mod servers;
mod skew;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use faults::Fault;
use servers::Servers;

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
struct Plan {
    trials: usize,
    /// How long a Redis that is gone stays away.
    outage: Duration,
    /// Runs submitted in a trial.
    runs: usize,
    /// Servers killed in a trial.
    kills: usize,
}

const BRIEF: Plan = Plan {
    trials: 1,
    outage: Duration::from_secs(4),
    runs: 80,
    kills: 4,
};

const LONG: Plan = Plan {
    trials: 5,
    outage: Duration::from_secs(60),
    runs: 200,
    kills: 10,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        // `cargo test -- --list` asks every test program what it holds.
        for fault in Fault::ALL {
            println!("{}: test", fault.name());
        }
        return ExitCode::SUCCESS;
    }
    let plan = if arguments.iter().any(|a| a == "--long") {
        LONG
    } else {
        BRIEF
    };
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let is_wanted = |fault: &Fault| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|word| fault.name().contains(word.as_str()))
    };
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(is_wanted).collect();
    if faults.is_empty() && wanted.iter().all(|word| *word != "reach") {
        // Another test's name was given to all test programs.
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers = Servers::start();
    println!(
        "{:<52} {:>6} {:>6} {:>6} {:>6} {:>10} {:>12}",
        "fault", "trials", "runs", "lost", "twice", "run again", "recovery"
    );
    let mut sound = true;
    for fault in faults {
        let verdict = runtime.block_on(verdict::of(fault, &servers, plan));
        println!("{verdict}");
        sound &= verdict.is_sound();
    }
    if wanted.is_empty() || wanted.iter().any(|word| "reach".contains(word.as_str())) {
        sound &= runtime.block_on(reach::is_prompt(&servers));
    }
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
