//! `cms`: keeps an Office 365 mailbox and local Maildirs the same.

fn main() -> std::process::ExitCode {
    cms::run_program(std::env::args_os())
}
