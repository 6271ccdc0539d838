//! The endpoint: allowed clients, responses, and the effect of misbehaving clients on others.

use fixture_interfaces::Probe;
use reslot::{
    BuildError, Host, HostBuilder, Policy, RollbackTarget,
    metrics::{EndpointError, PrometheusEndpoint, PrometheusServer},
};
use reslot_tests::{Fixture, Folder, http};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn builder() -> HostBuilder {
    Host::builder().policy(Policy::without_probation())
}

/// The address of a host's endpoint, if it has one.
fn address(host: &Host) -> Option<SocketAddr> {
    host.surface::<PrometheusServer>().map(PrometheusServer::address)
}

fn endpoint_error(error: &BuildError) -> Option<&EndpointError> {
    match error {
        BuildError::Surface(error) => error.downcast_ref(),
        _ => None,
    }
}

fn host() -> (Host, SocketAddr) {
    let host = builder().attach(PrometheusEndpoint::on(LOOPBACK)).build().unwrap();
    let at = address(&host).unwrap();
    (host, at)
}

fn page(at: SocketAddr) -> String {
    let (status, page) = http::get(at, "/metrics").unwrap();
    assert_eq!(status, 200, "{page}");
    page
}

#[test]
fn is_only_there_if_it_is_asked_for_and_ends_with_its_host() {
    assert_eq!(address(&builder().build().unwrap()), None);
    let (host, at) = host();
    assert!(at.ip().is_loopback() && at.port() != 0);
    assert!(page(at).contains("\nreslot_images_mapped 0\n"));
    // A client with an incomplete request does not delay the end.
    let mut half = TcpStream::connect(at).unwrap();
    half.write_all(b"GET /metr").unwrap();
    drop(host);
    assert!(TcpStream::connect(at).is_err());
    let _ = half.set_read_timeout(Some(Duration::from_secs(30)));
    assert!(matches!(half.read(&mut [0; 1]), Ok(0) | Err(_)));
    // The port is free again.
    let again = builder().attach(PrometheusEndpoint::on(at)).build().unwrap();
    assert_eq!(address(&again), Some(at));
}

#[test]
fn is_on_loopback_unless_that_is_said() {
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    for at in [
        everywhere,
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        SocketAddr::from(([192, 0, 2, 1], 9000)),
    ] {
        let error = builder().attach(PrometheusEndpoint::on(at)).build().unwrap_err();
        assert!(
            matches!(endpoint_error(&error), Some(EndpointError::NotLoopback { at: told }) if *told == at),
            "{error:?}"
        );
        let words = error.to_string();
        assert!(words.contains("127.0.0.1") && words.contains("beyond_loopback"), "{words}");
    }
    let host = builder()
        .attach(PrometheusEndpoint::beyond_loopback(everywhere))
        .build()
        .unwrap();
    page(SocketAddr::from(([127, 0, 0, 1], address(&host).unwrap().port())));
    // The last `attach` counts.
    let host = builder()
        .attach(PrometheusEndpoint::beyond_loopback(everywhere))
        .attach(PrometheusEndpoint::on(LOOPBACK))
        .build()
        .unwrap();
    assert!(address(&host).unwrap().ip().is_loopback());
}

#[test]
fn port_in_use_is_an_error_with_words() {
    let other = TcpListener::bind(SocketAddr::from(LOOPBACK)).unwrap();
    let at = other.local_addr().unwrap();
    let error = builder().attach(PrometheusEndpoint::on(at)).build().unwrap_err();
    assert!(
        matches!(endpoint_error(&error), Some(EndpointError::Bind { .. })),
        "{error:?}"
    );
    let words = error.to_string();
    assert!(words.contains(&at.to_string()) && words.contains("port 0"), "{words}");
}

#[test]
fn two_hosts_of_a_process_do_not_mix() {
    let ((first, at), (second, other)) = (host(), host());
    let folder = Folder::new();
    first
        .load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    let counter = Fixture::build("fx-counter").stamped(1);
    second.load(folder.publish("b.so", &counter)).unwrap();
    second.load(folder.publish("c.so", b"no library")).unwrap_err();
    let name = second.slots()[0].name.clone();
    assert!(page(at).contains(r#"reslot_reload_total{slot="probe",outcome="swapped"} 1"#));
    assert!(!page(at).contains(&format!("slot={name:?}")) && page(at).contains(r#"outcome="refused"} 0"#));
    assert!(!page(at).contains(r#"outcome="refused"} 1"#));
    assert!(page(other).contains(&format!("reslot_slot_generation{{slot={name:?}}} 1")));
    assert!(!page(other).contains("slot=\"probe\""));
    assert!(page(at).contains("\nreslot_images_mapped 1\n"));
    drop(first);
    assert!(page(other).contains("\nreslot_images_mapped 1\n"));
}

#[test]
fn request_that_is_not_for_metrics_gets_an_error() {
    let (_host, at) = host();
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(200));
    let questions: [(&[u8], u16); 11] = [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /metrics?x=y HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", 404),
        (b"GET http://elsewhere/metrics HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\xff\xfe\xfd\r\n\r\n", 400),
        (b"GET /metrics SPDY/9\r\n\r\n", 400),
        (long.as_bytes(), 431),
        (many.as_bytes(), 431),
    ];
    for (question, expected) in questions {
        let (status, body) = http::ask(at, question).unwrap();
        assert_eq!(status, expected, "{:?}: {body}", String::from_utf8_lossy(question));
        assert!(!body.is_empty());
    }
    let (status, body) = http::ask(at, b"HEAD /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((status, &*body), (200, ""));
    page(at);
}

#[test]
fn slow_and_many_clients_keep_no_other_client_waiting() {
    let (host, at) = host();
    let folder = Folder::new();
    let probe = Fixture::build("fx-probe");
    host.load(folder.publish("a.so", &probe.stamped(1))).unwrap();
    // More connections than the limit, each with an incomplete request.
    let mut slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    for stamp in 2..10 {
        page(at);
        host.load(folder.publish("a.so", &probe.stamped(stamp))).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "the slow ones were waited for");
    // The newest of them still gets a response.
    let mut last = slow.pop().unwrap();
    last.write_all(b"\r\n").unwrap();
    assert_eq!(http::answer(last).unwrap().0, 200);
    // A hundred clients at once: each gets a response or, above the limit, is disconnected.
    drop(slow);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..100).map(|_| scope.spawn(|| http::get(at, "/metrics"))).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let answered = answers.iter().flatten().filter(|(status, _)| *status == 200).count();
    assert!(answered >= 36, "{answered}");
    // Clients that disconnect before the response.
    for _ in 0..100 {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    }
    page(at);
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 9);
}

#[test]
fn question_may_come_a_byte_at_a_time() {
    let (_host, at) = host();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(http::answer(stream).unwrap().0, 200);
}

#[test]
fn name_in_a_refused_file_becomes_no_label() {
    let (host, at) = host();
    let folder = Folder::new();
    let refused = Fixture::build("fx-no-manifest");
    host.load(folder.publish("secret-name.so", refused.bytes())).unwrap_err();
    let page = page(at);
    assert!(
        page.contains(r#"reslot_reload_total{slot="none",outcome="refused"} 1"#),
        "{page}"
    );
    assert!(!page.contains("secret"), "{page}");
}

/// `increase` sees only a growth that begins at 0.
#[test]
fn counters_begin_with_0_when_a_slot_is_created() {
    let (host, at) = host();
    let says = |line: &str| page(at).lines().any(|of| of == line);
    for line in [
        r#"reslot_reload_total{slot="none",outcome="refused"} 0"#,
        r#"reslot_plugin_panics_total{slot="none",where="hook"} 0"#,
        r#"reslot_refusals_total{slot="none",cause="quarantine_full"} 0"#,
    ] {
        assert!(says(line), "{line}\n{}", page(at));
    }
    let (folder, moody) = (Folder::new(), Fixture::build("fx-moody"));
    // The candidate was mapped but never published, so its slot has no series.
    host.load(folder.publish("a.so", Fixture::build("fx-refuses-start").bytes()))
        .unwrap_err();
    assert!(
        says(r#"reslot_reload_total{slot="none",outcome="refused"} 1"#),
        "{}",
        page(at)
    );
    assert_eq!(page(at).matches("reslot_reload_total{").count(), 1, "{}", page(at));
    host.load(folder.publish("b.so", &moody.stamped(1))).unwrap();
    for (outcome, number) in [
        ("swapped", 1),
        ("unchanged", 0),
        ("superseded", 0),
        ("refused", 0),
        ("rolled_back", 0),
        ("rolled_back_on_request", 0),
    ] {
        let line = format!("reslot_reload_total{{slot=\"moody\",outcome={outcome:?}}} {number}");
        assert!(says(&line), "{line}\n{}", page(at));
    }
    for place in ["call", "thread", "hook"] {
        let line = format!("reslot_plugin_panics_total{{slot=\"moody\",where={place:?}}} 0");
        assert!(says(&line), "{line}\n{}", page(at));
    }
    assert!(says(r#"reslot_refusals_total{slot="moody",cause="quarantine_full"} 0"#));
    // The counters do not restart.
    host.slot::<dyn fixture_interfaces::Moody>("moody")
        .unwrap()
        .load()
        .fail("it slipped")
        .unwrap_err();
    host.load(folder.publish("b.so", &moody.stamped(2))).unwrap();
    assert!(says(r#"reslot_plugin_panics_total{slot="moody",where="call"} 1"#));
    assert!(says(r#"reslot_reload_total{slot="moody",outcome="swapped"} 2"#));
    // The rollback is manual.
    host.rollback("moody", RollbackTarget::Previous).unwrap();
    for line in [
        r#"reslot_reload_total{slot="moody",outcome="rolled_back_on_request"} 1"#,
        r#"reslot_reload_total{slot="moody",outcome="rolled_back"} 0"#,
        r#"reslot_rollbacks_total{slot="moody",reason="manual"} 1"#,
    ] {
        assert!(says(line), "{line}\n{}", page(at));
    }
}

/// A shadow's metrics have their own slot label.
#[test]
fn counters_of_a_shadow_begin_with_0_as_well() {
    let (host, at) = host();
    let (folder, moody) = (Folder::new(), Fixture::build("fx-moody"));
    host.load(folder.publish("a.so", &moody.stamped(1))).unwrap();
    let other = folder.publish("b.so", &moody.stamped(2));
    let shadow = host.shadow::<dyn fixture_interfaces::Moody>("moody", other).unwrap();
    let panics = |number: u32| {
        let line = format!("reslot_plugin_panics_total{{slot=\"moody~shadow\",where=\"call\"}} {number}\n");
        assert!(page(at).contains(&line), "{line}{}", page(at));
    };
    panics(0);
    shadow.fail("it slipped").unwrap_err();
    panics(1);
}
