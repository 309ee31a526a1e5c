//! KMS v2: a service on a Unix socket keeps the key; it seals a seed, and the seed seals the objects.

mod grpc;
mod proto;

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    aes::{Gcm, Seed},
    config, random,
};
use proto::{Sealed, SeedKind};

const TIMEOUT: Duration = Duration::from_secs(3);
/// How often the service is asked whether it has another key.
const FRESH: Duration = Duration::from_secs(60);
/// Seeds that are kept open.
const KEPT: usize = 1000;

/// The door to a service.
pub struct Kms {
    jobs: mpsc::Sender<Job>,
    timeout: Duration,
    current: Mutex<Current>,
    opened: Mutex<HashMap<Vec<u8>, Arc<Opener>>>,
}

/// The seed that is sealed with now.
struct Current {
    seed: Arc<Seed>,
    /// As it is stored beside each object.
    sealed: Sealed,
    asked: Instant,
}

/// What opens objects.
enum Opener {
    Seed(Arc<Seed>),
    /// Of the first form of version 2.
    Key(Gcm),
}

enum Question {
    Status,
    Encrypt { plain: Vec<u8> },
    Decrypt { sealed: Sealed },
}

struct Job {
    question: Question,
    answer: oneshot::Sender<Result<proto::Answer, String>>,
}

impl Kms {
    /// Starts the thread that speaks with the service, and has it seal a first seed.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn start(config: &config::Kms) -> Result<Self, String> {
        let path = config.endpoint.trim_start_matches("unix://").to_owned();
        let timeout = match &config.timeout {
            Some(text) => seconds(text)?,
            None => TIMEOUT,
        };
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new()
            .name("kms".into())
            .spawn(move || speak(&path, timeout, &queue))
            .map_err(|e| e.to_string())?;
        let current =
            new_seed(&jobs, timeout).map_err(|e| format!("kms {:?}: {e}", config.name))?;
        Ok(Kms {
            jobs,
            timeout,
            current: Mutex::new(current),
            opened: Mutex::default(),
        })
    }

    pub fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let (seed, sealed) = {
            let mut current = self.current.lock();
            if current.asked.elapsed() > FRESH {
                current.asked = Instant::now();
                self.renew(&mut current);
            }
            (current.seed.clone(), current.sealed.clone())
        };
        let data = seed.seal(key, plain)?;
        Ok(Sealed { data, ..sealed }.encode())
    }

    /// Another seed, when the service has another key. As long as it does not answer, the old one serves.
    fn renew(&self, current: &mut Current) {
        let status = ask(&self.jobs, Question::Status, self.timeout);
        match status {
            Ok(status) if status.key_id == current.sealed.key_id => {}
            Ok(_) => match new_seed(&self.jobs, self.timeout) {
                Ok(new) => *current = new,
                Err(why) => tracing::warn!(why, "kms: a new seed is not to be had"),
            },
            Err(why) => tracing::warn!(why, "kms status"),
        }
    }

    /// The plain bytes, and whether they would be sealed with another key now.
    pub fn open(&self, key: &str, kept: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let sealed = Sealed::decode(kept).ok_or("the stored data is damaged")?;
        let opener = self.opener(&sealed)?;
        let plain = match &*opener {
            Opener::Seed(seed) => seed.open(key, &sealed.data)?,
            Opener::Key(gcm) => gcm.open(key, &sealed.data)?,
        };
        let old = self.current.lock().sealed.key_id != sealed.key_id;
        Ok((plain, old))
    }

    fn opener(&self, sealed: &Sealed) -> Result<Arc<Opener>, String> {
        {
            let current = self.current.lock();
            if current.sealed.seed == sealed.seed {
                return Ok(Arc::new(Opener::Seed(current.seed.clone())));
            }
        }
        if let Some(known) = self.opened.lock().get(&sealed.seed) {
            return Ok(known.clone());
        }
        let question = Question::Decrypt {
            sealed: sealed.clone(),
        };
        let answer = ask(&self.jobs, question, self.timeout)?;
        let opener = Arc::new(match sealed.kind {
            SeedKind::Key => Opener::Key(Gcm::new(&answer.bytes)?),
            SeedKind::Seed => Opener::Seed(Arc::new(Seed::new(&answer.bytes)?)),
        });
        let mut opened = self.opened.lock();
        if opened.len() >= KEPT {
            opened.clear();
        }
        opened.insert(sealed.seed.clone(), opener.clone());
        Ok(opener)
    }
}

fn new_seed(jobs: &mpsc::Sender<Job>, timeout: Duration) -> Result<Current, String> {
    let seed: [u8; 32] = random::bytes()?;
    let question = Question::Encrypt {
        plain: seed.to_vec(),
    };
    let answer = ask(jobs, question, timeout)?;
    if answer.key_id.is_empty() {
        return Err("the service names no key".into());
    }
    Ok(Current {
        seed: Arc::new(Seed::new(&seed)?),
        sealed: Sealed {
            data: Vec::new(),
            key_id: answer.key_id,
            seed: answer.bytes,
            annotations: answer.annotations,
            kind: SeedKind::Seed,
        },
        asked: Instant::now(),
    })
}

fn ask(
    jobs: &mpsc::Sender<Job>,
    question: Question,
    timeout: Duration,
) -> Result<proto::Answer, String> {
    let (answer, mut reply) = oneshot::channel();
    jobs.send(Job { question, answer })
        .map_err(|_| "the kms thread is gone".to_owned())?;
    // The caller may be a thread of a runtime, on which nobody may wait by the runtime's means.
    let until = Instant::now() + timeout * 2;
    loop {
        match reply.try_recv() {
            Ok(answer) => return answer,
            Err(oneshot::error::TryRecvError::Closed) => {
                return Err("the kms thread is gone".into());
            }
            Err(oneshot::error::TryRecvError::Empty) if Instant::now() > until => {
                return Err("the service does not answer".into());
            }
            Err(oneshot::error::TryRecvError::Empty) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Answers jobs one after another until nobody can ask any more.
fn speak(path: &str, timeout: Duration, queue: &mpsc::Receiver<Job>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "kms thread"),
    };
    while let Ok(job) = queue.recv() {
        let work = async {
            let (method, message) = match &job.question {
                Question::Status => ("Status", Vec::new()),
                Question::Encrypt { plain } => ("Encrypt", proto::encrypt_request(plain)),
                Question::Decrypt { sealed } => ("Decrypt", proto::decrypt_request(sealed)),
            };
            let bytes = grpc::call(path, method, message).await?;
            proto::answer(&job.question, &bytes)
        };
        let answer = runtime.block_on(async {
            match tokio::time::timeout(timeout, work).await {
                Ok(answer) => answer,
                Err(_) => Err("the service does not answer".into()),
            }
        });
        let _ = job.answer.send(answer); // who asked may have given up
    }
}

/// `3s`, `500ms`, `1m`.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("timeout: Invalid value: {text:?}");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let factor = match &text[digits..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * factor)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
