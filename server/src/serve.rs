//! `serve`: puts the parts together and runs them until told to stop.

use crate::admin;
use crate::config::Config;
use crate::driver::{Driver, Input, Parts, now};
use crate::durable;
use crate::endpoint::{self, Shared, Traffic};
use crate::init::{self, Keys};
use crate::layout::Layout;
use crate::store::Store;
use crate::sums::Worker;
use crate::uploads::Uploads;
use anyhow::Context as _;
use protocol::ids::Sha256;
use protocol::renewal::Lifetime;
use protocol::time::Time;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Inputs waiting for the driver. Connections wait when it is full, which slows senders down instead of filling memory.
const INPUTS: usize = 1024;
/// How often the server looks whether its certificate is due: a machine that slept, or whose clock was moved, is right again within a minute.
const LOOK: Duration = Duration::from_secs(60);
/// Longest wait for connections to close, and for a port to be free.
const CLOSING: Duration = Duration::from_secs(5);

/// SHA-256 of the running program, for `process.started`.
pub(crate) fn own_hash() -> Sha256 {
    let bytes = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
    Sha256(protocol::hash::sha256(&[&bytes]))
}

/// Runs the server on `dir` until SIGTERM, SIGINT, or an administrator's `stop`.
///
/// # Errors
/// Whatever keeps it from starting, or the storage failure that ended it.
pub async fn run(dir: &Path, config: &Config) -> anyhow::Result<()> {
    let layout = Layout::new(dir);
    let lock = std::fs::File::create(layout.lock()).with_context(|| format!("the lock of {} cannot be made", dir.display()))?;
    // A second server on one directory would fork the log (F10).
    anyhow::ensure!(lock.try_lock().is_ok(), "another server runs on {}", dir.display());
    layout.written().iter().try_for_each(|dir| durable::remove_temporaries(dir))?;
    let (keys, log, trust_bytes) = init::open(&layout)?;
    let federation = log.history().trust().federation.clone();
    let keys = Arc::new(keys);
    let (tls, life) = endpoint::server_config(&keys, &federation, config, now())?;
    let socket = bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: is the port in use? choose another with `listen` in the configuration", config.listen)
    })?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(crate::resets::endpoint_config(&keys)?, Some(tls), socket, runtime)?;
    let bound = endpoint.local_addr()?.to_string();
    let public_address = config.public_address.clone().unwrap_or_else(|| bound.clone());
    let uploads = Uploads::new(layout.clone());
    let (inputs, queue) = mpsc::channel(INPUTS);
    let shared = Arc::new(Shared {
        inputs: inputs.clone(),
        uploads: uploads.clone(),
        traffic: Traffic::default(),
        federation: federation.clone(),
        memory: Arc::new(Semaphore::new(usize::try_from(config.receive_memory_bytes).unwrap_or(Semaphore::MAX_PERMITS))),
    });
    let results = inputs.clone();
    let jobs = Worker::start(layout.clone(), uploads.clone(), move |done| {
        // The driver is gone only when the process ends.
        results.blocking_send(Input::Work(done)).ok();
    })?;
    let store = Store::open(&layout.store())?;
    durable::create_dir(&layout.chunks())?;
    let renewing = Own { endpoint: endpoint.clone(), keys: Arc::clone(&keys), federation, config: config.clone(), life };
    let parts = Parts {
        layout: layout.clone(),
        keys,
        trust_bytes,
        public_address,
        log,
        store,
        uploads,
        shared: shared.clone(),
        jobs,
        config: config.digest(),
    };
    let driver = Driver::new(parts)?;
    let listener = admin::listen(&layout, inputs.clone())?;
    let mut acceptor = tokio::spawn(endpoint::accept(endpoint.clone(), shared, config.max_connections));
    tokio::spawn(stop_on_signal(inputs));
    let renewing = tokio::spawn(renewing.renew());
    // Written last: whoever reads the address finds a server that answers.
    durable::replace(&layout.address(), bound.as_bytes())?;
    tracing::info!(address = %bound, "serving");
    let ended = driver.run(queue).await;
    listener.abort();
    renewing.abort();
    // Accepting ends with the endpoint, and then every connection's task. Peers that are gone must not keep us.
    endpoint.close(quinn::VarInt::from_u32(0), b"shutting down");
    tokio::time::timeout(CLOSING, endpoint.wait_idle()).await.ok();
    if tokio::time::timeout(CLOSING, &mut acceptor).await.is_err() {
        acceptor.abort();
    }
    std::fs::remove_file(layout.address()).ok();
    drop(lock);
    Ok(ended?)
}

/// The server's own certificate (T8, T9): it may run for longer than one holds.
struct Own {
    endpoint: quinn::Endpoint,
    keys: Arc<Keys>,
    federation: String,
    config: Config,
    life: Lifetime,
}

impl Own {
    /// Shows a new certificate to new connections whenever one is due; those that are there go on.
    async fn renew(mut self) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            if let Err(error) = self.step(now()) {
                // The old one stays in force.
                tracing::error!(error = %format_args!("{error:#}"), "the server's TLS certificate cannot be renewed");
            }
        }
    }

    fn step(&mut self, now: Time) -> anyhow::Result<bool> {
        // One that was made under a clock that was ahead holds for nobody once the clock is right.
        let due = now >= self.life.due(0) || !self.life.holds(now);
        if due {
            let (tls, life) = endpoint::server_config(&self.keys, &self.federation, &self.config, now)?;
            self.endpoint.set_server_config(Some(tls));
            self.life = life;
            tracing::info!("new connections are shown a new TLS certificate");
        }
        Ok(due)
    }
}

/// Listens. A server that is started again at once finds its port still taken for a moment: the socket goes with its last packet.
async fn bind(listen: std::net::SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let until = tokio::time::Instant::now() + CLOSING;
    loop {
        match std::net::UdpSocket::bind(listen) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tracing::warn!(%listen, "the port is still taken; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
}

async fn stop_on_signal(inputs: mpsc::Sender<Input>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    inputs.send(Input::Stop).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that runs for a month shows eight certificates, each before the last one has run out.
    #[tokio::test]
    async fn the_servers_own_certificate_is_always_a_new_one_in_time() {
        let dir = tempfile::tempdir().unwrap();
        init::init(dir.path(), "demo", &dir.path().join("admin.key")).unwrap();
        let (keys, ..) = init::open(&Layout::new(dir.path())).unwrap();
        let config = Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
        let (begin, hour) = (now(), 3600 * 1000);
        let (tls, life) = endpoint::server_config(&keys, "demo", &config, begin).unwrap();
        let endpoint = quinn::Endpoint::server(tls, config.listen).unwrap();
        let mut own = Own { endpoint, keys: Arc::new(keys), federation: "demo".into(), config, life };
        let mut made = 0;
        for n in 0..24 * 30 {
            let now = begin.plus_ms(n * hour);
            assert!(own.life.holds(now), "hour {n}");
            made += u32::from(own.step(now).unwrap());
        }
        // Every seven twelfths of a week, and not oftener.
        assert_eq!(made, 7);
        // All that under a clock that was ahead: when it is set right, there is one that holds then.
        assert!(!own.life.holds(begin) && own.step(begin).unwrap());
        assert!(own.life.holds(begin) && !own.step(begin).unwrap());
    }
}
