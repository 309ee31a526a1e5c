//! `knarr image`: through the running Knarr, which owns the store, or on the store itself while none runs.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader},
    net::UnixStream,
};

use crate::{
    admin::{self, Answer, Images, Request},
    paths::Paths,
};

#[derive(Subcommand)]
pub enum Command {
    /// Import a docker or OCI archive; `-` reads standard input.
    Import {
        archive: PathBuf,
        /// Name for an image that the archive does not name.
        #[arg(long)]
        name: Option<String>,
    },
    /// List the node's images.
    List,
    /// Remove an image.
    Rm { image: String },
    /// Pull an image from its registry.
    Pull { image: String },
}

pub async fn run(paths: &Paths, command: Command) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root; run it with sudo");
    }
    let (request, archive) = request(command).await?;
    let running = paths.running().is_some();
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let local = async {
        if running {
            let mut socket = UnixStream::connect(paths.admin_socket())
                .await
                .context("the running Knarr does not answer yet; try again in a moment")?;
            let mut far = far;
            tokio::io::copy_bidirectional(&mut far, &mut socket).await?;
            return Ok(());
        }
        let _lock = paths.lock()?;
        let images = Images::open(&paths.containers())?;
        admin::answer(far, &images).await
    };
    let talk = async {
        admin::send(&mut near, &request, archive).await?;
        show(&mut BufReader::new(near)).await
    };
    let (served, shown) = tokio::join!(local, talk);
    shown.and(served)
}

type Archive = Box<dyn AsyncRead + Send + Unpin>;

async fn request(command: Command) -> Result<(Request, Option<Archive>)> {
    Ok(match command {
        Command::Import { archive, name } => {
            let input: Archive = if archive.as_os_str() == "-" {
                Box::new(tokio::io::stdin())
            } else {
                let opened = tokio::fs::File::open(&archive).await;
                Box::new(opened.with_context(|| format!("cannot read {}", archive.display()))?)
            };
            (Request::Import { name }, Some(input))
        }
        Command::List => (Request::List, None),
        Command::Rm { image } => (Request::Remove { image }, None),
        Command::Pull { image } => (Request::Pull { image }, None),
    })
}

/// Prints answers until the last.
async fn show(answers: &mut (impl AsyncReadExt + tokio::io::AsyncBufRead + Unpin)) -> Result<()> {
    let bar = ProgressBar::no_length();
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    while let Some(answer) = admin::receive(answers).await? {
        match answer {
            Answer::Progress { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Answer::Image(image) => {
                bar.finish_and_clear();
                let name = image
                    .repo_tags
                    .first()
                    .or(image.repo_digests.first())
                    .cloned()
                    .unwrap_or_default();
                let id = image
                    .id
                    .trim_start_matches("sha256:")
                    .chars()
                    .take(12)
                    .collect::<String>();
                println!("{name:<60} {id:<14} {:>8.1} MB", image.size as f64 / 1e6);
            }
            Answer::Done => return Ok(()),
            Answer::Error(reason) => bail!("{reason}"),
        }
    }
    bail!("the connection to Knarr broke off; its log says why")
}
