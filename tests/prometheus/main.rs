//! Tests metrics, dashboard and alerting rules with a real Prometheus: a host has reloads, a rollback, refusals, a
//! quarantine and a late holder; Prometheus scrapes it, and the test runs all queries of the dashboard and the rules.
#![forbid(unsafe_code)]

mod queries;
mod server;

use fixture_interfaces::{Moody, Probe};
use queries::{alerts, dashboard};
use reslot::{
    Event, Events, Host, Outcome, Policy, Reader, RollbackReason,
    metrics::{PrometheusEndpoint, PrometheusServer},
};
use reslot_tests::{Fixture, Folder, http};
use server::Server;
use std::{
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use xtask::{Workspace, debian};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn prometheus_reads_the_hosts_metrics_and_answers_the_dashboards_queries() {
    let workspace = Workspace::read(env!("CARGO_MANIFEST_DIR").as_ref()).unwrap();
    let programs = match debian::prometheus(&debian::cache(&workspace)) {
        Ok(Some(programs)) => programs,
        Ok(None) => return eprintln!("LEFT OUT, because {} says so: nothing was tested", debian::PROMETHEUS_FOLDER),
        Err(error) => panic!("{error}"),
    };
    let rules = workspace.root.join("docs/grafana/alerts.yml");
    let check = Command::new(&programs.promtool).args(["check", "rules"]).arg(&rules).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");
    // Rules that need a quarter of an hour or an outage are tested in simulated time.
    let simulated = workspace.root.join("tests/prometheus/rules.yml");
    let check = Command::new(&programs.promtool)
        .args(["test", "rules"])
        .arg(simulated)
        .output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");

    let mut desk = Desk::new();
    let at = desk.host.surface::<PrometheusServer>().unwrap().address();
    let server = Server::start(&programs.server, at, &rules);
    // The first scrape comes before all events, so that each increase is visible.
    until("Prometheus fetches from the host", || server.value("up") == Some(1.0));
    desk.begins();
    // The counters begin at 0.
    until("Prometheus knows both slots", || {
        server.value(r#"count(reslot_reload_total{slot!="none",outcome="refused"} == 0)"#) == Some(2.0)
    });
    let rules_file = rules;
    let rules = alerts(&rules_file);
    assert_eq!(firing(&server, &rules), Vec::<&str>::new());
    desk.lets_everything_happen();

    let page = http::get(at, "/metrics").unwrap();
    assert_eq!(page.0, 200);
    lint(&programs.promtool, &page.1);

    // Waits until each query has a result: some need events between two scrapes.
    let panels = dashboard(&workspace.root.join("docs/grafana/reslot.json"));
    assert!(panels.len() >= 20 && rules.len() >= 8, "{panels:#?} {rules:#?}");
    let mut unanswered: Vec<_> = panels.iter().collect();
    let deadline = Instant::now() + PATIENCE;
    while !unanswered.is_empty() {
        desk.goes_on();
        unanswered.retain(|(_, query)| server.numbers(query).iter().all(|number| number.is_nan()));
        assert!(Instant::now() < deadline, "no data, or not a number: {unanswered:#?}");
    }
    let expected = [
        "ReslotQuarantineGrows",
        "ReslotRefused",
        "ReslotRolledBack",
        "ReslotHoldersLate",
        "ReslotPanics",
    ];
    // The last events may not have been scraped yet.
    until("what should be told is, and nothing else", || {
        let firing = firing(&server, &rules);
        firing == expected || {
            eprintln!("{firing:?}, and should be {expected:?}");
            false
        }
    });
    desk.is_as_prometheus_says(&server);
    // Prometheus has loaded the rules.
    let loaded = server.get("/api/v1/rules");
    let groups = loaded["data"]["groups"].as_array().unwrap();
    assert_eq!(groups[0]["rules"].as_array().unwrap().len(), rules.len());

    // A second Prometheus without history reports no old alerts, and reports new ones.
    let other = Server::start(&programs.server, at, &rules_file);
    let fetched = r#"count_over_time(reslot_plugin_panics_total{slot="moody",where="call"}[1m])"#;
    until("it has fetched often enough to see growth", || {
        other.value(fetched).is_some_and(|times| times >= 3.0)
    });
    assert_eq!(firing(&other, &rules), ["ReslotHoldersLate"], "that is so at this moment");
    desk.fails_again();
    until("it tells what comes", || {
        firing(&other, &rules) == ["ReslotHoldersLate", "ReslotPanics"]
    });
    drop(other);

    // The end of a quarantine is visible too.
    drop(desk.thread_end.take());
    until("the image is released", || desk.host.images().quarantined == 0);
    until("Prometheus knows that", || {
        server.value("sum(reslot_images_quarantined)") == Some(0.0)
    });
    let Desk { host, held, .. } = desk;
    drop(held);
    drop(host);
    until("Prometheus sees that the host is gone", || server.value("up") == Some(0.0));
}

/// The rules whose expressions are true.
fn firing<'a>(server: &Server, rules: &'a [(String, String)]) -> Vec<&'a str> {
    let hold = rules.iter().filter(|(_, query)| !server.numbers(query).is_empty());
    hold.map(|(name, _)| &**name).collect()
}

/// A host with two slots, and its recent events.
struct Desk {
    folder: Folder,
    host: Host,
    events: Events,
    builds: u64,
    thread_end: Option<UnixStream>,
    held: Option<Reader>,
}

impl Desk {
    fn new() -> Self {
        let policy = Policy::development()
            .probation(Duration::from_secs(3600))
            .health_every(Duration::from_millis(20));
        let host = Host::builder()
            .policy(policy)
            .drain_deadline(Duration::from_millis(10))
            .count_calls(true)
            .attach(PrometheusEndpoint::on(([127, 0, 0, 1], 0)))
            .build()
            .unwrap();
        Self {
            folder: Folder::new(),
            events: host.events(),
            host,
            builds: 0,
            thread_end: None,
            held: None,
        }
    }

    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.events.recv_timeout(left).expect("it is told in time");
            if let Some(found) = wanted(&record.event) {
                return found;
            }
        }
    }

    /// Loads the next build of a plugin.
    fn load(&mut self, package: &str) {
        self.builds += 1;
        let bytes = Fixture::build(package).stamped(self.builds);
        self.host.load(self.folder.publish(&format!("{package}.so"), &bytes)).unwrap();
    }

    /// Creates its slots.
    fn begins(&mut self) {
        self.load("fx-moody");
        self.load("fx-lingering");
    }

    /// Causes another panic.
    fn fails_again(&self) {
        let moody = self.host.slot::<dyn Moody>("moody").unwrap();
        moody.load().fail("it slipped again").unwrap_err();
    }

    fn lets_everything_happen(&mut self) {
        // A rollback.
        self.load("fx-moody");
        let moody = self.host.slot::<dyn Moody>("moody").unwrap();
        moody.load().add(5).unwrap();
        moody.load().fail("it slipped").unwrap_err();
        let reason = self.wait_for(|event| match event {
            Event::RolledBack(report) => Some(report.reason.clone()),
            _ => None,
        });
        assert!(matches!(reason, RollbackReason::Panicked { .. }));
        // A quarantine.
        let path = self.folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let probe = self.host.slot::<dyn Probe>("probe").unwrap();
        probe.load().echo(path.to_str().unwrap()).unwrap();
        self.thread_end = Some(listener.accept().unwrap().0);
        self.load("fx-lingering");
        self.host.confirm("probe").unwrap();
        self.wait_for(|event| match event {
            Event::Retired(report) if matches!(report.outcome, Outcome::Quarantined(_)) => Some(()),
            _ => None,
        });
        // A late holder.
        let mut reader = self.host.reader();
        let _ = reader.view();
        self.held = Some(reader);
        self.load("fx-lingering");
        self.host.confirm("probe").unwrap();
        self.wait_for(|event| matches!(event, Event::DrainTimeout { .. }).then_some(()));
        // One refusal without a slot, and one with a slot.
        self.host.load(self.folder.publish("bad.so", b"no library")).unwrap_err();
        let other = Fixture::build("fx-other-state");
        let _ = self.host.load(self.folder.publish("other.so", other.bytes()));
    }

    /// Does another reload and a few calls.
    fn goes_on(&mut self) {
        self.load("fx-lingering");
        self.host.confirm("probe").unwrap();
        let probe = self.host.slot::<dyn Probe>("probe").unwrap();
        assert_eq!(probe.load().stamp().unwrap(), self.builds);
    }

    /// Compares each number of the host's own interface.
    fn is_as_prometheus_says(&self, server: &Server) {
        let same = |query: &str, number: &dyn Fn() -> f64| {
            until(query, || {
                let (theirs, ours) = (server.value(query), number());
                (theirs == Some(ours)) || {
                    eprintln!("{query}: {theirs:?}, and should be {ours}");
                    false
                }
            });
        };
        let told = |wanted: &dyn Fn(&Event) -> bool| {
            let mut events = self.host.events();
            let all = std::iter::from_fn(|| events.try_recv());
            all.filter(|record| wanted(&record.event)).count() as f64
        };
        same("reslot_images_mapped", &|| self.host.images().mapped as f64);
        same("reslot_images_standby", &|| self.host.images().standby as f64);
        same("sum(reslot_images_quarantined)", &|| self.host.images().quarantined as f64);
        same(r#"reslot_images_quarantined{reason="threads_running"}"#, &|| 1.0);
        same("sum(reslot_slot_late_holders)", &|| 1.0);
        same(r#"sum(reslot_reload_total{outcome="swapped"})"#, &|| {
            told(&|event| matches!(event, Event::Swapped(_)))
        });
        same(r#"reslot_reload_seconds_count{step="total"}"#, &|| {
            told(&|event| matches!(event, Event::Swapped(_)))
        });
        same(r#"sum(reslot_reload_total{outcome="refused"})"#, &|| {
            told(&|event| matches!(event, Event::Refused(_)))
        });
        same("sum(reslot_refusals_total)", &|| {
            told(&|event| matches!(event, Event::Refused(_)))
        });
        same(r#"reslot_refusals_total{slot="none",cause="lint"}"#, &|| 1.0);
        same(r#"reslot_rollbacks_total{slot="moody",reason="panicked"}"#, &|| 1.0);
        same(r#"sum(reslot_reload_total{outcome="rolled_back"})"#, &|| 1.0);
        same(r#"sum(reslot_reload_total{outcome="rolled_back_on_request"})"#, &|| 0.0);
        same(r#"reslot_plugin_panics_total{slot="moody",where="call"}"#, &|| 1.0);
        let left = || {
            let mut events = self.host.events();
            let all = std::iter::from_fn(|| events.try_recv()).filter_map(|record| match &record.event {
                Event::Retired(report) => match &report.outcome {
                    Outcome::Unmapped(report) => Some(report.live_bytes_left.unwrap_or(0) - report.bytes_freed),
                    _ => None,
                },
                _ => None,
            });
            all.sum::<u64>() as f64
        };
        same("sum(reslot_plugin_left_bytes)", &left);
        for slot in ["moody", "probe"] {
            let info = || self.host.slots().into_iter().find(|info| info.name == slot).unwrap();
            let of = |name: &str| format!("{name}{{slot={slot:?}}}");
            same(&of("reslot_slot_generation"), &|| info().generation.unwrap() as f64);
            same(&of("reslot_slot_on_probation"), &|| f64::from(u8::from(info().on_probation)));
            same(&of("reslot_slot_health"), &|| 3.0);
            same(&of("reslot_slot_calls_total"), &|| info().calls.unwrap() as f64);
            same(&of("reslot_slot_faults_total"), &|| info().faults as f64);
            same(&of("reslot_plugin_live_bytes"), &|| info().live_bytes.unwrap() as f64);
        }
    }
}

/// Checks a page with Prometheus's own tool: each metric has a description and a valid name.
fn lint(promtool: &std::path::Path, page: &str) {
    let mut tool = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}\n{page}",
        String::from_utf8_lossy(&said)
    );
}

/// Waits for an event in another process.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // Each check is a request to another process, which should not be overloaded.
        std::thread::sleep(Duration::from_millis(50));
    }
}
