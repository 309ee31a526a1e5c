//! Further processes in containers, and connections to what runs there.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use super::{Embedded, Sandbox, client, streams};
use crate::{
    spec::ProcessSpec,
    types::{ContainerState, Error, ExecConfig, ExecOutput, Result, Streams},
    wire::{Connection, Reply, Request, StreamSet},
};

/// How long output of an ended command may still come from what it left behind.
const DRAIN: Duration = Duration::from_millis(500);
/// A command whose output is collected may say this much.
const OUTPUT_LIMIT: u64 = 16 << 20;

impl Embedded {
    /// The running container's sandbox and what a further process in it starts from.
    fn target(&self, id: &str) -> Result<(Arc<Sandbox>, ProcessSpec)> {
        let container = self.container(id)?;
        let state = container.state();
        if state != ContainerState::Running {
            let state = format!("{state:?}").to_uppercase();
            return Err(Error::Invalid(format!(
                "container is in CONTAINER_{state} state"
            )));
        }
        let record = container.record.lock();
        Ok((self.sandbox(&record.sandbox)?, record.spec.process.clone()))
    }

    fn exec_request(
        id: &str,
        base: ProcessSpec,
        config: &ExecConfig,
        kill_on_close: bool,
    ) -> Request {
        let mut process = ProcessSpec {
            args: config.command.clone(),
            terminal: config.tty,
            ..base
        };
        if config.tty && !process.env.iter().any(|e| e.starts_with("TERM=")) {
            process.env.push("TERM=xterm".into());
        }
        let streams = pipes_for(config);
        Request::Exec {
            container: id.to_owned(),
            process: Box::new(process),
            streams,
            kill_on_close,
        }
    }

    pub(super) async fn exec_streams(&self, id: &str, config: &ExecConfig) -> Result<Streams> {
        let (sandbox, base) = self.target(id)?;
        let mut pipes = streams::Pipes::new(pipes_for(config)).context("pipe")?;
        let request = Self::exec_request(id, base, config, false);
        let (connection, _, fds) =
            client::begin(&sandbox.dir, &request, std::mem::take(&mut pipes.theirs))
                .await
                .map_err(|error| exec_error(&error))?;
        let terminal = fds
            .into_iter()
            .next()
            .map(streams::Terminal::new)
            .transpose()
            .context("terminal")?;
        Ok(streams::assemble(connection, pipes, terminal, true))
    }

    pub(super) async fn exec_collect(
        &self,
        id: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<ExecOutput> {
        let (sandbox, base) = self.target(id)?;
        let config = ExecConfig {
            command: command.to_vec(),
            stdout: true,
            stderr: true,
            ..ExecConfig::default()
        };
        let mut pipes = streams::Pipes::new(pipes_for(&config)).context("pipe")?;
        let request = Self::exec_request(id, base, &config, true);
        let run = async {
            let (mut connection, ..) =
                client::begin(&sandbox.dir, &request, std::mem::take(&mut pipes.theirs))
                    .await
                    .map_err(|error| exec_error(&error))?;
            collect(&mut connection, pipes).await
        };
        if limit.is_zero() {
            return run.await;
        }
        // Dropping the connection makes the shim kill the command.
        tokio::time::timeout(limit, run).await.unwrap_or_else(|_| {
            Err(Error::Timeout(format!(
                "command {command:?} timed out after {limit:?}"
            )))
        })
    }

    pub(super) async fn attach_streams(&self, id: &str, config: &ExecConfig) -> Result<Streams> {
        let (sandbox, base) = self.target(id)?;
        // A terminal has one output.
        let streams = StreamSet {
            stdin: config.stdin,
            stdout: config.stdout,
            stderr: config.stderr && !base.terminal,
        };
        let mut pipes = streams::Pipes::new(streams).context("pipe")?;
        let request = Request::Attach {
            container: id.to_owned(),
            streams,
        };
        let (connection, _, fds) =
            client::begin(&sandbox.dir, &request, std::mem::take(&mut pipes.theirs)).await?;
        let terminal = fds
            .into_iter()
            .next()
            .map(streams::Terminal::new)
            .transpose()
            .context("terminal")?;
        Ok(streams::assemble(connection, pipes, terminal, false))
    }

    pub(super) async fn reopen(&self, id: &str) -> Result<()> {
        let (sandbox, _) = self.target(id)?;
        client::call(
            &sandbox.dir,
            &Request::ReopenLog {
                container: id.to_owned(),
            },
        )
        .await?;
        Ok(())
    }

    pub(super) async fn connect_port(
        &self,
        sandbox_id: &str,
        port: u16,
    ) -> Result<tokio::net::TcpStream> {
        let sandbox = self.sandbox(sandbox_id)?;
        let (reply, fds) = client::call(&sandbox.dir, &Request::Connect { port }).await?;
        match (reply, fds.into_iter().next()) {
            (Reply::Connected, Some(fd)) => {
                let stream = std::net::TcpStream::from(fd);
                stream.set_nonblocking(true).context("set nonblocking")?;
                Ok(tokio::net::TcpStream::from_std(stream).context("take over connection")?)
            }
            _ => Err(Error::Other(anyhow::anyhow!("the shim gave no connection"))),
        }
    }
}

/// With a terminal there are no pipes.
fn pipes_for(config: &ExecConfig) -> StreamSet {
    let pipes = !config.tty;
    StreamSet {
        stdin: pipes && config.stdin,
        stdout: pipes && config.stdout,
        stderr: pipes && config.stderr,
    }
}

fn exec_error(error: &anyhow::Error) -> Error {
    Error::Invalid(format!(
        "failed to exec in container: unable to start container process: {error:#}"
    ))
}

async fn collect(connection: &mut Connection, pipes: streams::Pipes) -> Result<ExecOutput> {
    use tokio::io::AsyncReadExt;
    let mut output = ExecOutput::default();
    let (Some(stdout), Some(stderr)) = (pipes.stdout, pipes.stderr) else {
        return Ok(output);
    };
    {
        let (mut stdout, mut stderr) = (stdout.take(OUTPUT_LIMIT), stderr.take(OUTPUT_LIMIT));
        let reading = async {
            let _ = tokio::join!(
                stdout.read_to_end(&mut output.stdout),
                stderr.read_to_end(&mut output.stderr)
            );
        };
        tokio::pin!(reading);
        let mut read = false;
        output.exit_code = loop {
            tokio::select! {
                () = &mut reading, if !read => read = true,
                code = streams::exit_code(connection) => break code?,
            }
        };
        if !read {
            // What it left running may hold the pipes for ever.
            let _ = tokio::time::timeout(DRAIN, reading).await;
        }
    }
    Ok(output)
}
