//! A private Prometheus: a process with its own folder and port, which ends with this value.

use crate::PATIENCE;
use reslot_tests::http;
use serde_json::Value;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub struct Server {
    process: Child,
    at: SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Starts it; it scrapes `host` every second.
    pub fn start(program: &Path, host: SocketAddr, rules: &Path) -> Self {
        // Another process may take the port in between.
        for _ in 0..5 {
            let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Some(server) = Self::at(program, at, host, rules) {
                return server;
            }
        }
        panic!("Prometheus does not start");
    }

    fn at(program: &Path, at: SocketAddr, host: SocketAddr, rules: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [{rules:?}]\nscrape_configs:\n  - job_name: \
             reslot\n    static_configs:\n      - targets: ['{host}']\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process = command.spawn().unwrap();
        let mut server = Self { process, at, folder };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if matches!(http::get(at, "/-/ready"), Ok((200, _))) {
                return Some(server);
            }
            if server.process.try_wait().unwrap().is_some() {
                eprintln!("{}", server.log());
                return None;
            }
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = http::get(self.at, path).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// All numbers in the result of a query, which must be valid.
    pub fn numbers(&self, query: &str) -> Vec<f64> {
        let answer = self.get(&format!("/api/v1/query?query={}", http::encoded(query)));
        let results = answer["data"]["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{query}: {answer}"));
        let number = |result: &Value| result["value"][1].as_str().unwrap().parse().unwrap();
        results.iter().map(number).collect()
    }

    /// The only number in the result.
    pub fn value(&self, query: &str) -> Option<f64> {
        match self.numbers(query)[..] {
            [number] => Some(number),
            _ => None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("what Prometheus told:\n{}", self.log());
        }
    }
}
