//! The metrics of the real daemon, read by Debian's `promtool` and `prometheus`; the shipped rules and dashboard name only metrics
//! that the daemon exports. Where there is no `promtool` or `prometheus`, its test says that it did not run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tbtoken_proto::Phase;
use tbtoken_tests::harness::http::{ask, free_port};
use tbtoken_tests::harness::process::Process;
use tbtoken_tests::harness::{Daemon, Installation, Row, wait};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

use super::documents::repository;
use super::http::{token, with_http};
use super::notify::webhook;

/// Names that other programs export: Prometheus itself and node_exporter.
const FOREIGN: [&str; 1] = ["node_textfile_mtime_seconds"];

/// A daemon with so many customers of one server, all renewed, and what it exports over HTTP at this port.
fn exported(port: u16, customers: usize) -> (ThingsBoard, Installation, Daemon, String) {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(customers, |n| User::new(format!("ops{n}@acme.example")));
    let rows: Vec<_> = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    // The metrics of messages are exported only where there is a receiver.
    let receiver = webhook("chat", "slack", "http://127.0.0.1:9/");
    let installation = with_http(Installation::new().with_rows(&rows), port)
        .with("notify.receiver", vec![toml::Value::Table(receiver)]);
    let daemon = installation.start();
    daemon.until("every customer is valid and HTTP listens", |status| {
        status.tokens.summary.valid == customers
            && status.daemon.http.as_ref().is_some_and(|http| http.error.is_none())
    });
    (thingsboard, installation, daemon, scrape(port))
}

fn scrape(port: u16) -> String {
    let authorization = format!("Bearer {}", token("read"));
    let answer = ask(port, "GET", "/metrics", &[("Authorization", &authorization)], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The names of the families of an exposition.
fn families(exposition: &str) -> BTreeSet<&str> {
    let names = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.collect()
}

/// The names of metrics in an expression: words with one of the prefixes, which are no recording rules.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|char: char| !(char.is_ascii_alphanumeric() || "_:".contains(char)));
    let prefixes = ["tbtokend_", "process_", "node_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// The texts under this key, at any depth.
fn texts<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|item| texts(item, key, found));
        }
        _ => {}
    }
}

fn packaging(file: &str) -> PathBuf {
    repository().join("packaging").join(file)
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(packaging("grafana/tbtokend.json")).unwrap()).unwrap()
}

#[test]
fn rules_dashboard_and_page_name_only_metrics_that_the_daemon_exports() {
    let port = free_port();
    let (thingsboard, installation, daemon, _) = exported(port, 1);
    // The longest lapse is exported while there is one.
    let row = Row::new("lapsed", &thingsboard.add(User::new("lapsed"))).password("canary-pw-wrong");
    installation.table().insert([&row.token("t", "2026-01-01 00:00:00")]);
    daemon.until_customer("lapsed", "parked", |customer| customer.state == Phase::Parked);
    let exposition = scrape(port);
    let families = families(&exposition);
    let is_exported = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        families.contains(name) || of_histogram.is_some_and(|name| families.contains(name))
    };
    let rules = fs::read_to_string(packaging("prometheus/rules.yml")).unwrap();
    let dashboard = dashboard();
    let mut expressions = Vec::new();
    for key in ["expr", "query", "definition"] {
        texts(&dashboard, key, &mut expressions);
    }
    assert!(rules.matches("- alert:").count() == 11 && expressions.len() > 40, "{}", expressions.len());
    // A line of the rules that is no expression names no metric.
    for expression in expressions.iter().copied().chain(rules.lines()) {
        for name in metrics_of(expression) {
            assert!(is_exported(&name) || FOREIGN.contains(&name.as_str()), "no {name}: {expression}");
        }
    }
    // The dashboard shows what the rules record, under the same names.
    for name in expressions.iter().flat_map(|text| text.split(['{', ' '])).filter(|name| name.contains(':')) {
        assert!(rules.contains(&format!("record: {name}\n")), "no rule records {name}");
    }
    assert!(dashboard.get("__inputs").is_none(), "a dashboard with inputs cannot be provisioned");

    // The page for operators lists each metric, and no other.
    let page = fs::read_to_string(repository().join("docs/monitoring.md")).unwrap();
    let listed: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `tbtokend_"))
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let own: BTreeSet<&str> = families.iter().filter_map(|name| name.strip_prefix("tbtokend_")).collect();
    let own_of_file = BTreeSet::from(["up"]);
    assert_eq!(listed, own.union(&own_of_file).copied().collect(), "docs/monitoring.md");
}

/// Runs it to its end, with this file as its input. None, said aloud, if this machine does not have the program.
fn run(program: &str, arguments: &[&str], input: Option<&PathBuf>) -> Option<String> {
    let input = input.map_or_else(Stdio::null, |file| File::open(file).unwrap().into());
    match Command::new(program).args(arguments).stdin(input).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
            assert!(output.status.success(), "{program} {arguments:?}: {text}");
            Some(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("did not run: there is no {program} here (Debian: apt-get install prometheus)");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn promtool_finds_no_fault_in_rules_and_exposition() {
    for (command, file) in [("check", "rules.yml"), ("test", "rules_test.yml")] {
        let file = packaging("prometheus").join(file);
        let Some(text) = run("promtool", &[command, "rules", file.to_str().unwrap()], None) else { return };
        assert!(text.contains("SUCCESS"), "{text}");
    }
    for customers in [0, 20] {
        let (_thingsboard, installation, _daemon, exposition) = exported(free_port(), customers);
        let over_http = installation.folder().join("metrics.txt");
        fs::write(&over_http, exposition).unwrap();
        let by_file = installation.folder().join("tbtokend.prom");
        let written = installation.ctl(&["metrics", "--output", by_file.to_str().unwrap()]);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
        for file in [over_http, by_file] {
            let complaints = run("promtool", &["check", "metrics"], Some(&file)).unwrap();
            assert_eq!(complaints, "", "{customers} customers, {}", file.display());
        }
    }
}

#[test]
fn prometheus_scrapes_the_daemon_and_its_rules_are_evaluated() {
    if run("prometheus", &["--version"], None).is_none() {
        return;
    }
    let port = free_port();
    let (_thingsboard, installation, _daemon, _) = exported(port, 1);
    let folder = installation.folder();
    // No test waits half a minute for a rule.
    let rules = fs::read_to_string(packaging("prometheus/rules.yml")).unwrap();
    let quick = folder.join("rules.yml");
    fs::write(&quick, rules.replace("interval: 30s", "interval: 1s")).unwrap();
    let configuration = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [quick],
        "scrape_configs": [{
            "job_name": "tbtokend",
            "authorization": { "credentials_file": folder.join("read") },
            "static_configs": [{ "targets": [format!("127.0.0.1:{port}")] }],
        }],
    });
    // JSON is YAML.
    let file = folder.join("prometheus.yml");
    fs::write(&file, configuration.to_string()).unwrap();
    let own = free_port();
    let log = folder.join("prometheus.log");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{own}"));
    command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let _prometheus = Process::spawn(&mut command).unwrap();
    let value = |query: &str| {
        TcpStream::connect(("127.0.0.1", own)).ok()?;
        let answer = ask(own, "GET", &format!("/api/v1/query?query={query}"), &[], "");
        // While it starts it answers 503.
        let answer = (answer.status == 200).then(|| answer.json())?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    for (query, expected) in [("up", "1"), ("tbtokend_customers", "1"), ("tbtokend:lapsed:ratio_rate5m", "0")]
    {
        let holds = wait::poll(wait::TIMEOUT, || (value(query)? == expected).then_some(()));
        let log = || fs::read_to_string(&log).unwrap();
        assert!(holds.is_some(), "{query} is {:?}, not {expected}: {}", value(query), log());
    }
    // It understands every expression of the dashboard, with values for Grafana's variables.
    let (dashboard, mut expressions) = (dashboard(), Vec::new());
    texts(&dashboard, "expr", &mut expressions);
    for expression in expressions {
        let query =
            ["$job", "$instance"].iter().fold(expression.to_owned(), |text, name| text.replace(name, ".*"));
        let query = query.replace("$__rate_interval", "1m");
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = ask(own, "GET", &format!("/api/v1/query?query={encoded}"), &[], "");
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
    }
}
