//! The endpoint that a Prometheus fetches a host's metrics from: one thread, one socket, plain HTTP, one answer a connection. What
//! is asked is read by `httparse`; this file keeps whoever asks from doing harm: so many connections and no more, so many bytes,
//! so much time for each, and nobody waits for anybody else.

mod connection;

use super::MetricsRecorder;
use crate::{error::EndpointError, event::Log};
use connection::Connection;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use reslot_process::background::{self, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How many connections there may be at once; with one more, the oldest is closed.
const CONNECTIONS: usize = 64;

/// How long a connection may take from beginning to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often what was recorded is put together, also if nobody asks: until then each time that was measured is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long no new connection is taken when the system has no room for one.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the bounds of the times' buckets lie, in seconds: steps take microseconds, or wait for somebody's hook.
const BUCKETS: [f64; 20] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Where an endpoint is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadRequest {
    pub(crate) at: SocketAddr,
    /// Whether others than this machine may ask.
    pub(crate) beyond_loopback: bool,
}

/// A socket that is bound, and what is answered there; nobody listens yet.
pub(crate) struct Bound {
    listener: TcpListener,
    at: SocketAddr,
    handle: PrometheusHandle,
    /// A byte to one, or its end, wakes whoever waits at the other.
    ends: (UnixStream, UnixStream),
}

/// A running endpoint; it ends when this is dropped.
pub(crate) struct Endpoint {
    at: SocketAddr,
    /// Its other end wakes the thread when this one closes.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Binds the socket, and makes the recorder whose numbers are answered there.
pub(crate) fn bind(wanted: LoadRequest) -> Result<(Bound, MetricsRecorder), EndpointError> {
    let at = wanted.at;
    if !wanted.beyond_loopback && !at.ip().to_canonical().is_loopback() {
        return Err(EndpointError::NotLoopback { at });
    }
    let failed = |source| EndpointError::Bind { at, source };
    let listener = TcpListener::bind(at).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let buckets = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
    // It is an error to name no bounds.
    let recorder = buckets.unwrap_or_default().build_recorder();
    let handle = recorder.handle();
    let ends = UnixStream::pair().map_err(failed)?;
    let bound = Bound {
        listener,
        at,
        handle,
        ends,
    };
    Ok((bound, MetricsRecorder::with_own(recorder)))
}

impl Endpoint {
    pub(crate) fn start(bound: Bound, log: Log) -> io::Result<Self> {
        let Bound {
            listener,
            at,
            handle,
            ends: (end, ended),
        } = bound;
        let serving = Serving {
            listener,
            ended,
            handle,
            log,
            connections: Vec::new(),
            not_before: None,
        };
        let thread = background::spawn(Kind::Background, "reslot-metrics", move || serving.run())?;
        Ok(Self {
            at,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Where it is.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    listener: TcpListener,
    ended: UnixStream,
    handle: PrometheusHandle,
    log: Log,
    /// The oldest first.
    connections: Vec<Connection>,
    /// When the next connection is taken, if the system had no room for one.
    not_before: Option<Instant>,
}

impl Serving {
    fn run(mut self) {
        let mut upkeep = Instant::now() + UPKEEP;
        while let Some((is_asked, ready)) = self.wait(upkeep) {
            let now = Instant::now();
            if now >= upkeep {
                let _ = catch_unwind(AssertUnwindSafe(|| self.handle.run_upkeep()));
                upkeep = now + UPKEEP;
            }
            let (handle, log) = (&self.handle, &self.log);
            let mut ready = ready.into_iter();
            self.connections.retain_mut(|connection| {
                let is_ready = ready.next().unwrap_or(false);
                let goes_on = !is_ready || connection.goes_on(|| page(handle, log));
                goes_on && now.saturating_duration_since(connection.since()) < PATIENCE
            });
            if is_asked {
                self.take_connections();
            }
        }
    }

    /// Waits for something to do: whether somebody new asks, and which connections can go on. None when it ends.
    fn wait(&self, upkeep: Instant) -> Option<(bool, Vec<bool>)> {
        let mut next = upkeep;
        if let Some(oldest) = self.connections.first() {
            next = next.min(oldest.since() + PATIENCE);
        }
        let pausing = self.not_before.is_some_and(|at| at > Instant::now());
        if let Some(at) = self.not_before.filter(|_| pausing) {
            next = next.min(at);
        }
        let mut all = vec![PollFd::new(&self.ended, PollFlags::IN)];
        let listens = if pausing { PollFlags::empty() } else { PollFlags::IN };
        all.push(PollFd::new(&self.listener, listens));
        all.extend(self.connections.iter().map(|connection| {
            let wanted = if connection.is_asking() {
                PollFlags::IN
            } else {
                PollFlags::OUT
            };
            PollFd::new(connection.stream(), wanted)
        }));
        // A little more, so that what is due then is due.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = Timespec::try_from(left).ok();
        // A signal of the host's, or no memory for a moment: it is looked again.
        let _ = poll(&mut all, left.as_ref());
        let ready: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
        match &ready[..] {
            [false, is_asked, connections @ ..] => Some((*is_asked, connections.to_vec())),
            _ => None,
        }
    }

    fn take_connections(&mut self) {
        // No more at once than there may be: others go on in between.
        for _ in 0..CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.connections.len() == CONNECTIONS {
                        self.connections.remove(0);
                    }
                    self.connections.extend(Connection::new(stream).ok());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(_) => {
                    self.not_before = Some(Instant::now() + PAUSE);
                    break;
                }
            }
        }
    }
}

/// The metrics, as Prometheus reads them.
fn page(handle: &PrometheusHandle, log: &Log) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| {
        log.metrics_recorder().sample_own();
        handle.render()
    }))
    .ok()
}
