//! The queries of the dashboard and the alerting rules, read from the shipped files.

use serde_json::Value;
use std::{fs, path::Path};

/// All queries of all panels, with the panel's title and with Grafana's variables replaced.
pub fn dashboard(file: &Path) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let query = target["expr"].as_str().unwrap();
            let query = [("$__rate_interval", "10s"), ("$instance", ".*"), ("$slot", ".*")]
                .iter()
                .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value));
            assert!(!query.contains('$'), "{title}: a variable that is not known: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    queries
}

/// The name and expression of each rule, read line by line; the test compares them with the rules that Prometheus has
/// loaded.
pub fn alerts(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap();
    let rules = text.split("- alert: ").skip(1).map(|rule| {
        let (name, rest) = rule.split_once('\n').unwrap();
        let expression = rest.split_once("expr:").unwrap().1;
        let end = ["\n        for:", "\n        labels:"]
            .iter()
            .filter_map(|key| expression.find(key))
            .min();
        let expression = expression[..end.unwrap()].trim().trim_start_matches(">-");
        let words: Vec<&str> = expression.split_whitespace().collect();
        (name.to_owned(), words.join(" "))
    });
    rules.collect()
}
