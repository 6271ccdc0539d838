//! The endpoint from which Prometheus scrapes a host's metrics: one thread, one socket, plain HTTP, one answer per
//! connection. `httparse` parses the requests. This file limits the number of connections, and the bytes and the time of
//! each; no connection waits for another one.

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

/// The highest number of connections; for a new one, the oldest is closed.
const CONNECTIONS: usize = 64;

/// The longest duration of a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often recorded values are aggregated, even without a request. Until then every measured time is kept in memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// The pause before the next connection is accepted after the system refused one.
const PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the histograms' buckets in seconds. Steps take microseconds, or wait for a hook.
const BUCKETS: [f64; 20] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Serves a host's metrics at `http://ADDRESS/metrics`, for Prometheus, as long as the host lives: for
/// [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach). With port 0 a free port is used;
/// [`PrometheusServer::address`] returns it.
///
/// There is no password and no encryption.
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

/// A bound socket and its recorder, before the server starts.
struct Bound {
    listener: TcpListener,
    at: SocketAddr,
    page: Page,
}

/// A running endpoint, from [`Host::surface`](reslot_runtime::Host::surface). It ends with its host.
///
/// ```
/// use reslot::{Host, metrics::{PrometheusEndpoint, PrometheusServer}};
/// use std::{io::{Read, Write}, net::TcpStream};
///
/// let host = Host::builder().attach(PrometheusEndpoint::on(([127, 0, 0, 1], 0))).build()?;
/// let server = host.surface::<PrometheusServer>().expect("it is attached");
/// let mut connection = TcpStream::connect(server.address())?; // the port that was free
/// connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
/// let mut answer = String::new();
/// connection.read_to_string(&mut answer)?;
/// assert!(answer.contains("reslot_images_mapped 0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PrometheusServer {
    at: SocketAddr,
    /// Closing it wakes the thread.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl PrometheusEndpoint {
    /// An endpoint at this loopback address. Every process on this machine can read the numbers and the slots' names.
    pub fn on(address: impl Into<SocketAddr>) -> Self {
        Self {
            at: address.into(),
            beyond_loopback: false,
            bound: None,
        }
    }

    /// An endpoint at any address. Everyone who can reach it can read the numbers and the slots' names.
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
        // It fails only for an empty list of bounds.
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
        setup.on_event(move |event| meter.record(event));
        self.bound = Some(bound);
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<PrometheusServer, SurfaceError> {
        const NAME: &str = "reslot-metrics";
        let Some(Bound { listener, at, page }) = self.bound else {
            return Err("the endpoint was not bound".into());
        };
        // Closing one socket wakes the thread that polls the other one.
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
    /// Its address.
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

/// Why the endpoint for Prometheus could not be opened.
///
/// ```
/// use reslot::{BuildError, Host, metrics::{EndpointError, PrometheusEndpoint}};
///
/// let error = Host::builder().attach(PrometheusEndpoint::on(([0, 0, 0, 0], 0))).build().unwrap_err();
/// let BuildError::Surface(error) = error else { panic!("{error}") };
/// let error: &EndpointError = error.downcast_ref().expect("it is the endpoint's");
/// assert!(matches!(error, EndpointError::NotLoopback { .. }));
/// println!("{error}\n  what to do: {}", error.remedy());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address is reachable from other machines, and `beyond_loopback` was not used.
    #[error("metrics are not served at {at}: it is not a loopback address, so other machines could read them")]
    NotLoopback {
        /// The address.
        at: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("metrics cannot be served at {at}: {source}")]
    Bind {
        /// The address.
        at: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

impl EndpointError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotLoopback { .. } => {
                "name a loopback address such as 127.0.0.1; or use `PrometheusEndpoint::beyond_loopback`, if everyone who \
                     can reach it may read these numbers"
            }
            Self::Bind { source, .. } => remedy(source, |reason| match reason {
                Reason::InUse => {
                    "end the process that uses the port, or name another one; with port 0 a free port is used, and \
                         `PrometheusServer::address` returns it"
                }
                Reason::Denied => "name a port above 1023, or let the program bind lower ones (CAP_NET_BIND_SERVICE)",
                Reason::NoSuchAddress => "name an address of this machine, such as 127.0.0.1",
                _ => "name another address of this machine",
            }),
        }
    }
}

struct Serving {
    listener: TcpListener,
    ended: UnixStream,
    page: Page,
    /// The connections, oldest first.
    connections: Vec<Connection>,
    /// When the next connection is accepted, after the system refused one.
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
                let goes_on = !is_ready || connection.advance(|| page.text());
                goes_on && now.saturating_duration_since(connection.since()) < PATIENCE
            });
            if is_asked {
                self.take_connections();
            }
        }
    }

    /// Waits for work. Returns whether there is a new connection, and which connections can continue. None at the end of the
    /// server.
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
        // One millisecond more, so that the deadline has really passed.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = Timespec::try_from(left).ok();
        // After an error (a signal, or no memory) the loop polls again.
        let _ = poll(&mut all, left.as_ref());
        let ready: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
        match &ready[..] {
            [false, is_asked, connections @ ..] => Some((*is_asked, connections.to_vec())),
            _ => None,
        }
    }

    fn take_connections(&mut self) {
        // The number is limited, so that other connections can continue in between.
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

/// The metrics in Prometheus's text format.
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
