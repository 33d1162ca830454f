//! `cms`: keeps an Office 365 mailbox and local Maildirs the same.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is cleared, so that no token, code or key outlives its use in memory, whichever library held it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    cms::run_program(std::env::args_os())
}
