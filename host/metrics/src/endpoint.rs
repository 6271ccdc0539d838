//! The endpoint that a Prometheus fetches a host's metrics from: one thread, one socket, plain HTTP, one answer a connection. What
//! is asked is read by `httparse`; this file keeps whoever asks from doing harm: so many connections and no more, so many bytes,
//! so much time for each, and nobody waits for anybody else.

mod connection;

use crate::meter::{Meter, Target};
use connection::Connection;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use reslot_runtime::surface::{HostHandle, Reason, Setup, Surface, SurfaceError, remedy, spawn_background, thread_remedy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
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

/// Serves a host's metrics at `http://ADDRESS/metrics`, for a Prometheus to fetch, as long as the host lives: for
/// [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach). With port 0 a free port is taken, which [`PrometheusServer::address`] tells.
///
/// Nobody is asked for a password, and nothing is encrypted.
///
/// ```
/// use reslot::{Host, metrics::{PrometheusEndpoint, PrometheusServer}};
///
/// let host = Host::builder().attach(PrometheusEndpoint::on(([127, 0, 0, 1], 0))).build()?;
/// let address = host.surface::<PrometheusServer>().expect("it is attached").address();
/// println!("http://{address}/metrics");
/// # Ok::<(), reslot::BuildError>(())
/// ```
pub struct PrometheusEndpoint {
    at: SocketAddr,
    beyond_loopback: bool,
    bound: Option<Bound>,
}

/// A socket that is bound, and what is answered there; nobody listens yet.
struct Bound {
    listener: TcpListener,
    at: SocketAddr,
    page: Page,
}

/// An endpoint that is served, from [`Host::surface`](reslot_runtime::Host::surface). It ends with its host.
#[derive(Debug)]
pub struct PrometheusServer {
    at: SocketAddr,
    /// Its other end wakes the thread when this one closes.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl PrometheusEndpoint {
    /// At this address, which must be one of loopback: whoever can connect to this machine's loopback can read the numbers and the slots' names.
    pub fn on(address: impl Into<SocketAddr>) -> Self {
        Self {
            at: address.into(),
            beyond_loopback: false,
            bound: None,
        }
    }

    /// At any address: everybody who reaches it can read the numbers and the slots' names.
    pub fn beyond_loopback(address: impl Into<SocketAddr>) -> Self {
        Self {
            beyond_loopback: true,
            ..Self::on(address)
        }
    }

    fn bind(&self) -> Result<Bound, EndpointError> {
        let at = self.at;
        if !self.beyond_loopback && !at.ip().to_canonical().is_loopback() {
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
        let meter = Arc::new(Meter::new(Target::Own(Box::new(recorder))));
        let page = Page { handle, meter };
        Ok(Bound { listener, at, page })
    }
}

fn failed(error: EndpointError) -> SurfaceError {
    let remedy = error.remedy();
    SurfaceError::new(error, remedy)
}

impl fmt::Debug for PrometheusEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusEndpoint")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Surface for PrometheusEndpoint {
    type Running = PrometheusServer;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let bound = self.bind().map_err(failed)?;
        let meter = bound.page.meter.clone();
        setup.on_event(move |event| meter.tell(event));
        self.bound = Some(bound);
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<PrometheusServer, SurfaceError> {
        const NAME: &str = "reslot-metrics";
        let Some(Bound { listener, at, page }) = self.bound else {
            return Err("the endpoint was not bound".into());
        };
        // The end of one of them wakes the thread that waits at the other.
        let pair = UnixStream::pair();
        let (end, ended) = pair.map_err(|source| failed(EndpointError::Bind { at, source }))?;
        page.meter.attach(host);
        let serving = Serving {
            listener,
            ended,
            page,
            connections: Vec::new(),
            not_before: None,
        };
        let thread = spawn_background(NAME, move || serving.run()).map_err(|error| {
            let remedy = thread_remedy(&error);
            SurfaceError::new(error, remedy).context(format!("the host's thread {NAME:?} could not be started"))
        })?;
        Ok(PrometheusServer {
            at,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl PrometheusServer {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for PrometheusServer {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why the endpoint for Prometheus could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Others than this machine could ask there, and that was not asked for.
    #[error("metrics are not served at {at}: it is no loopback address, so others than this machine could read them")]
    NotLoopback {
        /// The address.
        at: SocketAddr,
    },
    /// The address cannot be had.
    #[error("metrics cannot be served at {at}: {source}")]
    Bind {
        /// The address.
        at: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

impl EndpointError {
    /// What the person who runs the host can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotLoopback { .. } => {
                "name an address of loopback, as 127.0.0.1; or use `PrometheusEndpoint::beyond_loopback`, if everybody who reaches it may know \
                 these numbers"
            }
            Self::Bind { source, .. } => remedy(source, |reason| match reason {
                Reason::InUse => {
                    "end what uses the port, or name another one; with port 0 a free one is taken, and `PrometheusServer::address` tells which"
                }
                Reason::Denied => "name a port above 1023, or let the program bind lower ones (CAP_NET_BIND_SERVICE)",
                Reason::NoSuchAddress => "name an address of this machine, as 127.0.0.1",
                _ => "name another address of this machine",
            }),
        }
    }
}

struct Serving {
    listener: TcpListener,
    ended: UnixStream,
    page: Page,
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
                let _ = catch_unwind(AssertUnwindSafe(|| self.page.handle.run_upkeep()));
                upkeep = now + UPKEEP;
            }
            let page = &self.page;
            let mut ready = ready.into_iter();
            self.connections.retain_mut(|connection| {
                let is_ready = ready.next().unwrap_or(false);
                let goes_on = !is_ready || connection.goes_on(|| page.text());
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
struct Page {
    handle: PrometheusHandle,
    meter: Arc<Meter>,
}

impl Page {
    fn text(&self) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| {
            self.meter.sample();
            self.handle.render()
        }))
        .ok()
    }
}
