//! Kubernetes in one binary: one file per subcommand, and the wiring of the components.

mod admin;
mod apiserver;
mod apply;
mod cluster;
mod control_plane;
mod demo;
mod detach;
mod down;
mod etcd;
mod flags;
mod image;
mod kubeconfig;
mod node;
mod paths;
mod plugins;
mod preflight;
mod progress;
mod registries;
mod security;
mod serving;
mod status;
mod up;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Writes make and drop thousands of small things each: with this allocator they take a fifth less time than with the C
/// library's, and memory that was needed for a moment goes back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kubernetes in one binary.
#[derive(Parser)]
#[command(name = "knarr", version, about)]
struct Cli {
    /// Where everything that Knarr keeps is.
    #[arg(long, global = true, default_value = paths::DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine.
    Up(Box<up::Options>),
    /// Stop the cluster, its pods and its network; keep the data.
    Down,
    /// Stop the cluster and leave nothing of it behind.
    Reset {
        /// Really remove everything.
        #[arg(long)]
        yes: bool,
    },
    /// Tell whether the cluster runs and what is on it.
    Status,
    /// Print the admin kubeconfig.
    Kubeconfig,
    /// Manage the node's images.
    #[command(subcommand)]
    Image(image::Command),
    /// Run the API server and its store alone.
    Apiserver(Box<apiserver::Options>),
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    // A shim forks before it does anything else, so nothing may have started a thread.
    if args.next_if_eq("shim").is_some() {
        return knarr_runtime::shim_main(args);
    }
    let command = Cli::command();
    let matches = command.clone().get_matches();
    flags::note(&command, &matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    init_tracing(matches!(
        cli.command,
        Command::Up(_) | Command::Apiserver(_)
    ));
    // Both providers could be compiled in by a dependency; say which one is meant.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knarr: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let paths = paths::Paths::new(&cli.data_dir)?;
    match cli.command {
        Command::Up(options) if options.detach => detach::run(&paths, &options),
        Command::Up(options) => async_main(up::run(paths, *options)),
        Command::Down => async_main(down::down(&paths)),
        Command::Reset { yes } => async_main(down::reset(&paths, yes)),
        Command::Status => async_main(status::run(&paths)),
        Command::Kubeconfig => kubeconfig::print(&paths),
        Command::Image(command) => async_main(image::run(&paths, command)),
        Command::Apiserver(options) => async_main(apiserver::run(paths, *options)),
    }
}

fn async_main<F: Future<Output = anyhow::Result<()>>>(future: F) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // Threads that block (DNS sockets, file reads) must not hold the process up.
    runtime.shutdown_background();
    result
}

fn init_tracing(daemon: bool) {
    let default = if daemon { "warn" } else { "error" };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("KNARR_LOG").unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
