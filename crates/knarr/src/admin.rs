//! The socket that `knarr image` talks to: one request as a JSON line, then perhaps an archive; answers as JSON lines.

use std::{path::Path, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use knarr_runtime::{
    Embedded, Image,
    images::{ImageStore, Puller, RegistryConfig},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
        BufReader,
    },
    net::UnixListener,
    sync::mpsc,
};
use tokio_util::io::SyncIoBridge;

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Import { name: Option<String> },
    List,
    Remove { image: String },
    Pull { image: String },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Progress { done: u64, total: u64 },
    Image(Image),
    Done,
    Error(String),
}

/// What requests are about.
#[derive(Clone)]
pub struct Images {
    store: Arc<ImageStore>,
    puller: Arc<Puller>,
}

impl Images {
    fn of(runtime: &Embedded) -> Result<Self> {
        Ok(Images {
            store: runtime.image_store().clone(),
            puller: Arc::new(Puller::new(RegistryConfig::default())?),
        })
    }

    /// The store below a runtime's root while no Knarr has it open.
    pub fn open(root: &Path) -> Result<Self> {
        let store = Arc::new(ImageStore::open(&root.join("images"))?);
        Ok(Images {
            store,
            puller: Arc::new(Puller::new(RegistryConfig::default())?),
        })
    }
}

/// Answers requests on `socket` for ever.
pub async fn serve(socket: PathBuf, runtime: Embedded) -> Result<()> {
    let images = Images::of(&runtime)?;
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let images = images.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &images).await {
                tracing::debug!(%error, "admin request");
            }
        });
    }
}

/// Answers one request.
pub async fn answer(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    images: &Images,
) -> Result<()> {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(Box::pin(read));
    let mut line = String::new();
    read.read_line(&mut line).await?;
    let request: Request = serde_json::from_str(&line)?;
    let (answers, mut queue) = mpsc::channel(64);
    let images = images.clone();
    let work = tokio::spawn(async move {
        let last = match carry_out(request, read, &images, &answers).await {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Error(format!("{error:#}")),
        };
        let _ = answers.send(last).await;
    });
    while let Some(answer) = queue.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
    write.shutdown().await?;
    work.await.map_err(Into::into)
}

async fn carry_out(
    request: Request,
    archive: impl AsyncRead + Send + Unpin + 'static,
    images: &Images,
    answers: &mpsc::Sender<Answer>,
) -> Result<()> {
    let store = images.store.clone();
    let found = match request {
        Request::Import { name } => {
            let archive = SyncIoBridge::new(archive);
            tokio::task::spawn_blocking(move || store.import(archive, name.as_deref())).await??
        }
        Request::List => tokio::task::spawn_blocking(move || store.list()).await?,
        Request::Remove { image } => {
            tokio::task::spawn_blocking(move || store.remove(&image)).await??;
            Vec::new()
        }
        Request::Pull { image } => {
            let report = answers.clone();
            let progress: knarr_runtime::Progress = Arc::new(move |done, total| {
                // A slow reader misses some; the next one says more.
                let _ = report.try_send(Answer::Progress { done, total });
            });
            vec![
                images
                    .puller
                    .pull(&store, &image, None, Some(progress))
                    .await?,
            ]
        }
    };
    for image in found {
        answers.send(Answer::Image(image)).await?;
    }
    Ok(())
}

/// Sends a request, then the archive that belongs to it.
pub async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    request: &Request,
    archive: Option<Box<dyn AsyncRead + Send + Unpin>>,
) -> Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    if let Some(mut archive) = archive {
        // A refused archive closes early: the answer then says why.
        let _ = tokio::io::copy(&mut archive, to).await;
    }
    let _ = to.shutdown().await;
    Ok(())
}

/// The next answer; `None` when the other side is gone.
pub async fn receive(
    from: &mut (impl AsyncBufRead + AsyncReadExt + Unpin),
) -> Result<Option<Answer>> {
    let mut line = String::new();
    if from.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
