//! Whether the program endures: changes on both sides for hours, against a simulated Microsoft 365 that often fails.
//!
//!     just endurance 120 1                 two hours, with the dice of seed 1
//!     just endurance 30 1 --cuts           with the network cut for a minute of every five
//!
//! Each change is looked for on the other side, and how long that takes is told by percentiles, beside memory, open
//! files, requests and what is wrong at the end. The table goes to stdout, as JSON into `target/endurance.json`. The exit
//! status is 1 if the two sides don't become what was last wanted (a message is lost, doubled, elsewhere or has other
//! flags), or if the program brought an answer of 429 upon itself. Ctrl-C ends the changes; the rest follows as usual.

#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod agitation;
mod here;
mod histogram;
mod mail;
mod network;
#[path = "../shared/proc.rs"]
mod proc;
mod process;
mod report;
mod run;
mod verdict;
mod world;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::run::Run;
use crate::world::World;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Keeps cms busy for a long time against a simulated Microsoft 365.
#[derive(Parser)]
struct Arguments {
    /// How long changes are made, in minutes; `CMS_ENDURANCE_MINUTES` if missing, otherwise 2
    #[arg(long)]
    minutes: Option<f64>,
    /// What the dice begin with; `CMS_ENDURANCE_SEED` if missing, otherwise 1
    #[arg(long)]
    seed: Option<u64>,
    /// Changes in a second, half of them on each side
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Messages at the start, and about as many all the time
    #[arg(long, default_value_t = 4000)]
    messages: usize,
    /// Milliseconds that the simulated service takes for each request
    #[arg(long, default_value_t = 40)]
    latency: u64,
    /// Cut the network at the end of each period
    #[arg(long)]
    cuts: bool,
    /// Seconds from one end of a cut to the next
    #[arg(long, default_value_t = 300)]
    cut_every: u64,
    /// Seconds that a cut lasts
    #[arg(long, default_value_t = 60)]
    cut_for: u64,
    /// Let nothing fail
    #[arg(long)]
    calm: bool,
    /// `cfg.poll_interval`; what the program does by itself if missing
    #[arg(long)]
    poll: Option<String>,
    /// The program; the one that was built with this if missing
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where Maildirs, state and log go, and stay; a directory that is removed at the end if missing
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the figures go as JSON; `endurance.json` in the target directory if missing
    #[arg(long)]
    output: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn seed(&self) -> u64 {
        self.seed.or_else(|| environment("CMS_ENDURANCE_SEED")).unwrap_or(1)
    }

    fn minutes(&self) -> f64 {
        self.minutes.or_else(|| environment("CMS_ENDURANCE_MINUTES")).unwrap_or(2.0)
    }
}

fn environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut world = World::new(&arguments)?;
    let report = Run::new(&arguments, &mut world)?.play()?;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        // The directory for temporary files of benchmarks lies in the target directory.
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("endurance.json"),
    };
    std::fs::write(output, report.json()?)?;
    print!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
