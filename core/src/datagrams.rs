//! Sends datagrams of metrics to a DogStatsD server, over UDP or a Unix socket. On the walk of a hit going out: before it
//! [`crate::worker`] with `emit/statsd.rs`. It is called by the worker and waits for nothing: a datagram goes at once or
//! is lost, and counted. Only a host's name takes time; it is looked up on a thread that ends with the answer.

use crate::clock::Clock;
use crate::config::Settings;
use crate::control::agent::{self, Container, split_port};
use crate::control::kept::{Kept, out_of_the_way};
use crate::emit::statsd::{Datagram, Origin, Packer};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The port of a server whose address names none.
const PORT: u16 = 8125;
/// The most bytes of a datagram over UDP, so that it is not cut on its way, …
const UDP_BYTES: usize = 1432;
/// … and over a Unix socket, where a server's buffer ends.
const UNIX_BYTES: usize = 8192;
/// The most datagrams that wait for the address of a host.
const WAITING: usize = 64;
/// Nanoseconds after which a host that was not found is looked up again.
const LOOK_UP_AGAIN_NS: u64 = 30_000_000_000;

/// Where metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A host, perhaps by its name.
    Udp(String, u16),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl Destination {
    /// Reads `udp://host:port` or `unix:///path`.
    pub fn parse(url: &str) -> Option<Destination> {
        let (scheme, rest) = url.trim().split_once("://")?;
        match scheme.to_ascii_lowercase().as_str() {
            "unix" if rest.starts_with('/') && rest.len() > 1 => Some(Destination::Unix(PathBuf::from(rest))),
            "udp" => {
                let (host, port) = split_port(rest.trim_end_matches('/'))?;
                let named = !host.is_empty() && port != Some(0) && !host.contains(['/', '@', '?', '#']);
                named.then(|| Destination::Udp(host, port.unwrap_or(PORT)))
            }
            _ => None,
        }
    }

    fn limit(&self) -> usize {
        match self {
            Destination::Udp(..) => UDP_BYTES,
            Destination::Unix(_) => UNIX_BYTES,
        }
    }
}

/// The address that a host's name stands for without a look-up. `localhost` is where servers listen that are told nothing else.
fn known(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") { Some(Ipv4Addr::LOCALHOST.into()) } else { host.parse().ok() }
}

/// What became of metrics. Plain counters, read by anybody.
#[derive(Debug, Default)]
pub struct MetricCounters {
    /// Values that were sent; whether anybody has received them, a datagram does not tell.
    pub sent: AtomicU64,
    /// Datagrams that carried them.
    pub datagrams: AtomicU64,
    /// Values that were lost: nobody listens, or the system has no room.
    pub lost: AtomicU64,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Socket {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Udp(socket) => socket.send(bytes),
            Socket::Unix(socket) => socket.send(bytes),
        }
    }
}

/// Where the look-up of a host's name stands.
enum Address {
    Known(SocketAddr),
    Asked(Receiver<Option<SocketAddr>>),
    /// Not known; not asked again before this time.
    Unknown(u64),
}

/// The way of metrics out of a process.
pub struct Datagrams {
    destination: Destination,
    clock: Arc<dyn Clock>,
    counters: Arc<MetricCounters>,
    packer: Packer,
    address: Address,
    socket: Option<Kept<Socket>>,
    /// Those that wait for the address.
    waiting: VecDeque<Datagram>,
    /// Values of the datagram that was sent last over UDP: an answer that nobody listens comes with the next one.
    last: u64,
}

impl Datagrams {
    /// The way that settings ask for. Nothing is opened before the first metric.
    pub fn open(settings: &Settings, service: &str, clock: Arc<dyn Clock>) -> Option<Datagrams> {
        let destination = Destination::parse(&settings.dogstatsd_address(&|path| Path::new(path).exists()))?;
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let container = agent::container(&cgroup, |path| std::fs::metadata(path).ok().map(|data| data.ino()));
        Some(Datagrams::to(destination, settings, service, &container, clock))
    }

    /// The way to a place.
    pub fn to(
        destination: Destination,
        settings: &Settings,
        service: &str,
        container: &Container,
        clock: Arc<dyn Clock>,
    ) -> Datagrams {
        let packer = Packer::new(Origin::new(settings, service, container), destination.limit());
        Datagrams {
            destination,
            clock,
            counters: Arc::default(),
            packer,
            address: Address::Unknown(0),
            socket: None,
            waiting: VecDeque::new(),
            last: 0,
        }
    }

    /// What became of metrics.
    pub fn counters(&self) -> &Arc<MetricCounters> {
        &self.counters
    }

    /// Where lines are put together.
    pub(crate) fn packer(&mut self) -> &mut Packer {
        &mut self.packer
    }

    /// There will be metrics: what takes time begins.
    pub(crate) fn prepare(&mut self) {
        if let Destination::Udp(..) = self.destination {
            self.find();
        }
    }

    /// Sends what was put together.
    pub(crate) fn send(&mut self) {
        self.waiting.extend(self.packer.take());
        let is_udp = matches!(self.destination, Destination::Udp(..));
        if is_udp && !self.waiting.is_empty() && self.find().is_none() && self.is_asked() {
            while self.waiting.len() > WAITING {
                let oldest = self.waiting.pop_front().unwrap_or_default();
                self.lose(oldest.values);
            }
            return;
        }
        while let Some(datagram) = self.waiting.pop_front() {
            if self.try_send(&datagram) {
                self.counters.sent.fetch_add(datagram.values, Relaxed);
                self.counters.datagrams.fetch_add(u64::from(datagram.values > 0), Relaxed);
            } else {
                self.lose(datagram.values);
            }
        }
    }

    /// Nothing is sent any more: what still waits for an address is lost.
    pub(crate) fn stop(&mut self) {
        self.send();
        let left: u64 = std::mem::take(&mut self.waiting).iter().map(|datagram| datagram.values).sum();
        self.lose(left);
    }

    /// True if something waits for the address of a host.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn lose(&self, values: u64) {
        self.counters.lost.fetch_add(values, Relaxed);
    }

    fn try_send(&mut self, datagram: &Datagram) -> bool {
        // A server that was started anew is another one: the second try finds it.
        for _ in 0..2 {
            let Some(socket) = self.socket() else { return false };
            let Err(error) = socket.send(&datagram.bytes) else {
                self.last = datagram.values;
                return true;
            };
            match Errno::from_io_error(&error) {
                Some(Errno::CONNREFUSED) if matches!(self.destination, Destination::Udp(..)) => {
                    // This is said of the one before, and this one was not sent.
                    let last = std::mem::take(&mut self.last);
                    self.counters.sent.fetch_sub(last, Relaxed);
                    self.lose(last);
                }
                Some(Errno::AGAIN | Errno::NOBUFS | Errno::MSGSIZE) => return false,
                _ => self.socket = None,
            }
        }
        false
    }

    /// The socket, opened where there is none or where the program has closed it.
    fn socket(&mut self) -> Option<&Socket> {
        if self.socket.as_ref().is_none_or(|socket| socket.get().is_none()) {
            self.socket = None;
            self.socket = self.connect().ok();
        }
        self.socket.as_ref().and_then(Kept::get)
    }

    fn connect(&mut self) -> io::Result<Kept<Socket>> {
        let socket = match &self.destination {
            Destination::Unix(path) => {
                let path = path.clone();
                let socket = UnixDatagram::from(out_of_the_way(UnixDatagram::unbound()?.into()));
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Socket::Unix(socket)
            }
            Destination::Udp(..) => {
                let address = self.find().ok_or(io::ErrorKind::NotFound)?;
                let any: IpAddr = match address {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::from(out_of_the_way(UdpSocket::bind((any, 0))?.into()));
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Socket::Udp(socket)
            }
        };
        Kept::new(socket)
    }

    fn is_asked(&self) -> bool {
        matches!(self.address, Address::Asked(_))
    }

    /// The address of the host, if it is known by now.
    fn find(&mut self) -> Option<SocketAddr> {
        let Destination::Udp(host, port) = &self.destination else { return None };
        if let Address::Asked(answer) = &self.address {
            match answer.try_recv() {
                Ok(Some(address)) => self.address = Address::Known(address),
                Err(TryRecvError::Empty) => return None,
                Ok(None) | Err(TryRecvError::Disconnected) => {
                    self.address = Address::Unknown(self.clock.monotonic().saturating_add(LOOK_UP_AGAIN_NS));
                }
            }
        }
        match self.address {
            Address::Known(address) => return Some(address),
            Address::Unknown(again) if again > self.clock.monotonic() => return None,
            Address::Unknown(_) | Address::Asked(_) => {}
        }
        if let Some(address) = known(host) {
            let address = SocketAddr::new(address, *port);
            self.address = Address::Known(address);
            return Some(address);
        }
        self.address = ask(host.clone(), *port);
        None
    }
}

/// Looks up a host's name, which may take long.
fn ask(host: String, port: u16) -> Address {
    let (says, answer) = bounded(1);
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut found| found.next());
        // Nobody waits any more where the session has ended.
        let _ = says.send(found);
    };
    #[allow(clippy::disallowed_methods, reason = "it lives no longer than the look-up, which nothing else can do")]
    let started = std::thread::Builder::new().name("strobe-lookup".to_owned()).stack_size(256 * 1024).spawn(look_up);
    // Without a thread the channel is closed, and it is tried again later.
    drop(started);
    Address::Asked(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::emit::meter::Taken;
    use crate::probe::model::{Metric, MetricKind, Probe};
    use std::time::Duration;

    fn to(destination: Destination) -> Datagrams {
        Datagrams::to(destination, &Settings::default(), "", &Container::default(), Arc::new(SystemClock))
    }

    fn put(datagrams: &mut Datagrams, value: f64) {
        let log = crate::probe::model::Log {
            template: crate::expr::template::Template::default(),
            snapshot: false,
            limits: crate::capture::limits::Limits::default(),
            expressions: Vec::new(),
        };
        let probe = Probe::alone(log, None, Vec::new(), "a.py");
        let metric = Metric { kind: MetricKind::Count, name: "m".to_owned(), value: None };
        datagrams.packer().add(&probe, &metric, &Taken { values: vec![value], one_in: 1 });
        datagrams.send();
    }

    fn counts(datagrams: &Datagrams) -> (u64, u64, u64) {
        let counters = datagrams.counters();
        (counters.sent.load(Relaxed), counters.datagrams.load(Relaxed), counters.lost.load(Relaxed))
    }

    const LINE: &str = "dynamic.instrumentation.metric.probe.m:7|c|#debugger.probeid:probe\n";

    #[test]
    fn addresses() {
        let udp = |host: &str, port| Some(Destination::Udp(host.to_owned(), port));
        for (url, wanted) in [
            ("udp://localhost:8125", udp("localhost", 8125)),
            ("udp://agent", udp("agent", 8125)),
            ("UDP://[::1]:9", udp("::1", 9)),
            ("unix:///var/run/dsd.socket", Some(Destination::Unix("/var/run/dsd.socket".into()))),
            ("unix://relative", None),
            ("udp://:8125", None),
            ("udp://host:0", None),
            ("udp://host:port", None),
            ("udp://host/path", None),
            ("tcp://host:1", None),
            ("host:1", None),
        ] {
            assert_eq!(Destination::parse(url), wanted, "{url}");
        }
    }

    #[test]
    fn over_udp() {
        for bound in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = UdpSocket::bind(bound) else { continue };
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let address = server.local_addr().unwrap();
            let mut datagrams = to(Destination::Udp(address.ip().to_string(), address.port()));
            put(&mut datagrams, 7.0);
            let mut buffer = [0; 2000];
            let size = server.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..size]), Ok(LINE));
            assert_eq!(counts(&datagrams), (1, 1, 0));
        }
    }

    #[test]
    fn a_server_that_is_not_there_costs_its_values_and_one_that_comes_is_found() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut datagrams = to(Destination::Udp("localhost".to_owned(), free.port()));
        for _ in 0..3 {
            put(&mut datagrams, 1.0);
        }
        let (sent, _, lost) = counts(&datagrams);
        assert!(sent + lost == 3 && lost >= 2, "{sent} sent, {lost} lost");
        let server = UdpSocket::bind(free).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        put(&mut datagrams, 7.0);
        let mut buffer = [0; 2000];
        let size = server.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..size]), Ok(LINE));
    }

    #[test]
    fn over_a_unix_socket_whose_server_starts_anew_and_one_that_is_full() {
        let folder = std::env::temp_dir().join(format!("stroboscope-dsd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("dsd.socket");
        let _ = std::fs::remove_file(&path);
        let mut datagrams = to(Destination::Unix(path.clone()));
        put(&mut datagrams, 1.0);
        assert_eq!(counts(&datagrams), (0, 0, 1), "nobody listens");
        for _ in 0..2 {
            let server = UnixDatagram::bind(&path).unwrap();
            put(&mut datagrams, 7.0);
            let mut buffer = [0; 2000];
            let size = server.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..size]), Ok(LINE));
            drop(server);
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(counts(&datagrams), (2, 2, 1));

        let server = UnixDatagram::bind(&path).unwrap();
        for _ in 0..10_000 {
            put(&mut datagrams, 1.0);
        }
        let (sent, _, lost) = counts(&datagrams);
        assert_eq!(sent + lost, 10_003);
        assert!(lost > 5_000, "a server that reads nothing is not waited for: {lost}");
        drop(server);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_name_is_looked_up_while_a_bounded_number_waits() {
        let mut datagrams = to(Destination::Udp("no-such-host.invalid".to_owned(), 1));
        let (says, answer) = bounded(1);
        datagrams.address = Address::Asked(answer);
        for _ in 0..WAITING + 5 {
            put(&mut datagrams, 1.0);
        }
        assert_eq!(counts(&datagrams), (0, 0, 5));
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        says.send(Some(server.local_addr().unwrap())).unwrap();
        put(&mut datagrams, 7.0);
        assert_eq!(counts(&datagrams), (WAITING as u64 + 1, WAITING as u64 + 1, 5));

        let mut datagrams = to(Destination::Udp("no-such-host.invalid".to_owned(), 1));
        let (says, answer) = bounded(1);
        datagrams.address = Address::Asked(answer);
        put(&mut datagrams, 1.0);
        says.send(None).unwrap();
        put(&mut datagrams, 1.0);
        assert!(matches!(datagrams.address, Address::Unknown(again) if again > 0));
        assert_eq!(counts(&datagrams), (0, 0, 2));
    }
}
