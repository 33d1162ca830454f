//! How fast and how thrifty the program is, against a simulated Microsoft 365 on this machine.
//!
//!     cargo bench -p cms --bench speed
//!     cargo bench -p cms --bench speed -- --only initial --messages 2000 --json
//!
//! Every figure stands beside what nobody could do better and the goal, all measured in the same run. The table goes to
//! stdout, as JSON with `--json`, and as JSON into `target/bench.json` in any case. The exit status is 1 if a goal is
//! missed.

#![allow(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]

mod heavy;
mod idle;
mod initial;
mod local_changes;
mod plain;
#[path = "../shared/proc.rs"]
mod proc;
mod process;
mod report;
mod scale;
mod start;
mod world;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;
use crate::world::World;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measures cms against a simulated Microsoft 365.
#[derive(Parser)]
struct Arguments {
    /// Messages of the first sync
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// Messages that are there already when a start is measured
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Milliseconds that the simulated service takes for each request
    #[arg(long, default_value_t = 40)]
    latency: u32,
    /// Messages of the first sync at the limit of 10,000 requests in ten minutes
    #[arg(long, default_value_t = 10_100)]
    limited: usize,
    /// Messages of the large account, of which 5,000 are in each folder
    #[arg(long, default_value_t = 1_000_000)]
    account: usize,
    /// Do some only: initial, limit, changes, idle, start, heavy, scale
    #[arg(long, value_delimiter = ',', default_value = "initial,changes,idle,start,heavy")]
    only: Vec<String>,
    /// Write JSON to stdout instead of the table
    #[arg(long)]
    json: bool,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.only.iter().any(|only| only == name);
    let mut report = Report::new();
    if wanted("initial") || wanted("changes") || wanted("idle") {
        let world = World::new(arguments.messages, 1.0, arguments.latency)?;
        initial::measure(&world, &mut report)?;
        if wanted("changes") {
            local_changes::measure(&world, &mut report)?;
        }
        if wanted("idle") {
            idle::measure(&world, &mut report)?;
        }
    }
    if wanted("start") {
        start::measure(arguments.large, &mut report)?;
    }
    if wanted("heavy") {
        heavy::measure(&World::new(3, 1.0, arguments.latency)?, &mut report)?;
    }
    if wanted("scale") {
        scale::measure(arguments.account, arguments.account.div_ceil(5_000), &mut report)?;
    }
    if wanted("limit") {
        initial::measure_documented_limit(arguments.limited, &mut report)?;
    }
    let json = report.json()?;
    // The directory for temporary files of benchmarks lies in the target directory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target directory")?;
    std::fs::write(target.join("bench.json"), &json)?;
    if arguments.json {
        println!("{json}");
    } else {
        print!("{report}");
    }
    Ok(if report.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
