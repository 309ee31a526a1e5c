//! KMS v2: a service on a Unix socket keeps the key; it seals a seed, and the seed seals the objects.

mod grpc;
mod proto;

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    aes::{Gcm, Seed},
    config, random,
};
use proto::{Sealed, SeedKind};

const TIMEOUT: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(3600);
/// How often the service is asked whether it has another key.
const FRESH: Duration = Duration::from_secs(60);
/// Seeds that are kept open.
const KEPT: usize = 1000;

/// The door to a service.
pub struct Kms {
    jobs: mpsc::Sender<Job>,
    timeout: Duration,
    current: Arc<ArcSwap<Current>>,
    opened: Mutex<HashMap<Vec<u8>, Arc<Opener>>>,
}

/// The seed that is sealed with now.
struct Current {
    seed: Arc<Seed>,
    /// As it is stored beside each object.
    sealed: Sealed,
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
    answer: mpsc::Sender<Result<proto::Answer, String>>,
}

impl Kms {
    /// Starts the thread that speaks with the service, and has it seal a first seed.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn start(config: &config::Kms) -> Result<Self, String> {
        Self::start_fresh(config, FRESH)
    }

    /// The same with another time between questions whether the service has another key.
    fn start_fresh(config: &config::Kms, fresh: Duration) -> Result<Self, String> {
        let path = config.endpoint.trim_start_matches("unix://").to_owned();
        let timeout = match &config.timeout {
            Some(text) => seconds(text)?,
            None => TIMEOUT,
        };
        let (jobs, queue) = mpsc::channel();
        let (first, made) = mpsc::channel();
        thread::Builder::new()
            .name("kms".into())
            .spawn(move || live(path, timeout, fresh, &queue, &first))
            .map_err(|e| e.to_string())?;
        let told = |e: String| format!("kms {:?}: {e}", config.name);
        let current = made
            .recv()
            .map_err(|e| told(e.to_string()))?
            .map_err(told)?;
        Ok(Kms {
            jobs,
            timeout,
            current,
            opened: Mutex::default(),
        })
    }

    pub fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let current = self.current.load();
        let sealed = Sealed {
            data: current.seed.seal(key, plain)?,
            ..current.sealed.clone()
        };
        Ok(sealed.encode())
    }

    /// The plain bytes, and whether they would be sealed with another key now.
    pub fn open(&self, key: &str, kept: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let sealed = Sealed::decode(kept).ok_or("the stored data is damaged")?;
        let opener = self.opener(&sealed)?;
        let plain = match &*opener {
            Opener::Seed(seed) => seed.open(key, &sealed.data)?,
            Opener::Key(gcm) => gcm.open(key, &sealed.data)?,
        };
        let old = self.current.load().sealed.key_id != sealed.key_id;
        Ok((plain, old))
    }

    fn opener(&self, sealed: &Sealed) -> Result<Arc<Opener>, String> {
        let current = self.current.load();
        if current.sealed.seed == sealed.seed {
            return Ok(Arc::new(Opener::Seed(current.seed.clone())));
        }
        if let Some(known) = self.opened.lock().get(&sealed.seed) {
            return Ok(known.clone());
        }
        let question = Question::Decrypt {
            sealed: sealed.clone(),
        };
        let answer = self.ask(question)?;
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

    fn ask(&self, question: Question) -> Result<proto::Answer, String> {
        let (answer, reply) = mpsc::channel();
        let gone = || "the kms thread is gone".to_owned();
        let job = Job { question, answer };
        self.jobs.send(job).map_err(|_| gone())?;
        // Another job may be before this one.
        match reply.recv_timeout(self.timeout * 2) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => Err("the service does not answer".into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

/// What the thread does: it gives the first seed, or why there is none, and then answers.
fn live(
    path: String,
    timeout: Duration,
    fresh: Duration,
    queue: &mpsc::Receiver<Job>,
    first: &mpsc::Sender<Result<Arc<ArcSwap<Current>>, String>>,
) {
    let started = Service::new(path, timeout).and_then(|mut service| {
        let seed = service.new_seed()?;
        Ok((service, Arc::new(ArcSwap::from_pointee(seed))))
    });
    // Whoever starts it waits for this.
    match started {
        Ok((service, current)) => {
            let _ = first.send(Ok(current.clone()));
            service.speak(queue, &current, fresh);
        }
        Err(why) => drop(first.send(Err(why))),
    }
}

/// The service as its thread speaks with it. It has a runtime of its own, as who asks may be a thread of another one.
struct Service {
    path: String,
    timeout: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    fn new(path: String, timeout: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Service {
            path,
            timeout,
            runtime: runtime.map_err(|e| e.to_string())?,
        })
    }

    /// Answers jobs one after another until nobody can ask any more, and looks now and then whether there is another key.
    /// So nobody who seals ever waits for the service.
    fn speak(mut self, queue: &mpsc::Receiver<Job>, current: &ArcSwap<Current>, fresh: Duration) {
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= fresh {
                self.renew(current);
                looked = Instant::now();
            }
            match queue.recv_timeout(fresh.saturating_sub(looked.elapsed())) {
                Ok(job) => {
                    let answer = self.ask(&job.question);
                    let _ = job.answer.send(answer); // who asked may have given up
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Another seed, when the service has another key. As long as it does not answer, the old one serves.
    fn renew(&mut self, current: &ArcSwap<Current>) {
        match self.ask(&Question::Status) {
            Ok(status) if status.key_id == current.load().sealed.key_id => {}
            Ok(_) => match self.new_seed() {
                Ok(new) => current.store(Arc::new(new)),
                Err(why) => tracing::warn!(why, "kms: a new seed is not to be had"),
            },
            Err(why) => tracing::warn!(why, "kms status"),
        }
    }

    fn new_seed(&mut self) -> Result<Current, String> {
        let seed: [u8; 32] = random::bytes()?;
        let plain = seed.to_vec();
        let answer = self.ask(&Question::Encrypt { plain })?;
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
        })
    }

    fn ask(&mut self, question: &Question) -> Result<proto::Answer, String> {
        let (method, message) = match question {
            Question::Status => ("Status", Vec::new()),
            Question::Encrypt { plain } => ("Encrypt", proto::encrypt_request(plain)),
            Question::Decrypt { sealed } => ("Decrypt", proto::decrypt_request(sealed)),
        };
        let (path, timeout) = (&self.path, self.timeout);
        self.runtime.block_on(async {
            let call = grpc::call(path, method, message);
            match tokio::time::timeout(timeout, call).await {
                Ok(bytes) => proto::answer(question, &bytes?),
                Err(_) => Err("the service does not answer".into()),
            }
        })
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
        .filter(|d| !d.is_zero() && *d <= LONGEST)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
