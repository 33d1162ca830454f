//! The simulation as a program.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use simcloud::{Knobs, Options};

/// A simulated Microsoft 365: sign-in and mail over HTTP on this machine.
///
/// Prints `listening on http://127.0.0.1:PORT` once it listens. Login and Graph are both at that address; what an
/// administrator can do is below `/admin` (see `ADMINISTRATION.md`).
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Generated messages in each inbox [default: 1000, or 0 with --eml]
    #[arg(long)]
    messages: Option<usize>,
    /// What generated mail and all dice begin with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long generated bodies are; 1 is usual mail
    #[arg(long, default_value_t = 1.0)]
    size_scale: f64,
    /// How long every Graph request takes, such as 40ms or 1s
    #[arg(long, default_value = "0ms", value_parser = duration)]
    latency: Duration,
    /// Directory whose .eml files lie in the first user's inbox
    #[arg(long, value_name = "DIR")]
    eml: Option<PathBuf>,
    /// Seconds since 1970 at which all .eml files were received [default: each a minute after the one before]
    #[arg(long, value_name = "SECONDS")]
    eml_received: Option<i64>,
    /// A mailbox; may be given several times
    #[arg(long = "user", value_name = "USER", default_value = "user@domain.com")]
    users: Vec<String>,
    /// A folder, and how many generated messages it begins with; may be given several times
    #[arg(long = "folder", value_name = "PATH=COUNT", value_parser = folder)]
    folders: Vec<(String, usize)>,
    /// A user's mail address where it isn't the name to sign in with; may be given several times
    #[arg(long = "alias", value_name = "USER=MAIL", value_parser = alias)]
    aliases: Vec<(String, String)>,
    /// Language of the well-known folders' names: en, de, fr, ja
    #[arg(long, default_value = "en")]
    locale: String,
    /// Leave out the noise: repetitions, empty pages, overloaded batches
    #[arg(long)]
    calm: bool,
    /// Any knob, as NAME=VALUE with a JSON value; may be given several times
    #[arg(long = "knob", value_name = "NAME=VALUE")]
    knobs: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Be a browser: get URL, follow redirects on this machine, and succeed if the last answer does
    Visit {
        /// Where to begin
        url: String,
        /// Pick this account on the sign-in page that is at URL
        #[arg(long, value_name = "USER", conflicts_with = "cancel")]
        account: Option<String>,
        /// Give up on the sign-in page that is at URL
        #[arg(long)]
        cancel: bool,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| "not a number with ms or s".to_owned())?;
    match unit {
        "ms" | "" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        other => Err(format!("`{other}` is neither ms nor s")),
    }
}

fn folder(text: &str) -> Result<(String, usize), String> {
    match text.rsplit_once('=') {
        None => Ok((text.to_owned(), 0)),
        Some((path, count)) => Ok((path.to_owned(), count.parse().map_err(|_| format!("`{count}` isn't a number"))?)),
    }
}

fn alias(text: &str) -> Result<(String, String), String> {
    let (user, mail) = text.split_once('=').ok_or_else(|| format!("`{text}` isn't USER=MAIL"))?;
    Ok((user.to_owned(), mail.to_owned()))
}

fn knobs(arguments: &Arguments) -> Result<Knobs, Box<dyn Error>> {
    let base = if arguments.calm { Knobs::calm() } else { Knobs::default() };
    let mut knobs =
        Knobs { latency_ms: u64::try_from(arguments.latency.as_millis())?, locale: arguments.locale.clone(), ..base };
    for knob in &arguments.knobs {
        let (name, value) = knob.split_once('=').ok_or_else(|| format!("`{knob}` isn't NAME=VALUE"))?;
        let value: serde_json::Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        knobs = knobs.merge(&serde_json::json!({ name: value }))?;
    }
    Ok(knobs)
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let knobs = knobs(&arguments)?;
    let options = Options {
        port: arguments.port,
        messages: arguments.messages.unwrap_or(if arguments.eml.is_some() { 0 } else { 1000 }),
        users: arguments.users,
        aliases: arguments.aliases,
        seed: arguments.seed,
        size_scale: arguments.size_scale,
        eml: arguments.eml,
        eml_received: arguments.eml_received,
        folders: arguments.folders,
        knobs,
        ..Options::default()
    };
    let server = simcloud::serve(options).await?;
    println!("listening on {}", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Visit { url, account, cancel }) = arguments.command {
        let visit = move || match (account, cancel) {
            (None, false) => simcloud::visit(&url),
            (account, _) => simcloud::visit_as(&url, account.as_deref()),
        };
        return match tokio::task::spawn_blocking(visit).await {
            Ok(Ok(200..300)) => ExitCode::SUCCESS,
            Ok(Ok(status)) => {
                eprintln!("the last answer was {status}");
                ExitCode::FAILURE
            }
            Ok(Err(error)) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
            Err(_) => ExitCode::FAILURE,
        };
    }
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
