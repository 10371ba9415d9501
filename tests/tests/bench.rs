//! The benchmark works: small runs of it, as a user would start them. Their figures are not checked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

use std::process::Command;

use serde_json::Value;
use tbtoken_tests::canary;
use tbtoken_tests::harness::binaries;

/// Runs the benchmark to its end and returns its output.
fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .env(binaries::VARIABLE, binaries::prepare(binaries::Progress::Hidden))
        .env_remove("TBTOKEN_BENCH_STORE")
        .args(arguments)
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    canary::assert_clean("the output of bench", stdout.as_bytes());
    canary::assert_clean("the errors of bench", stderr.as_bytes());
    stdout
}

#[test]
fn a_small_pass_is_measured_and_its_json_can_be_read() {
    let json =
        bench(&["pass", "--customers", "50", "--servers", "3", "--latency-ms", "5", "--brief", "--json"]);
    let document: Value = serde_json::from_str(&json).unwrap();
    assert!(document["machine"]["cores"].as_u64().unwrap() > 0);
    let report = &document["reports"][0];
    assert_eq!((&report["scenario"], &report["setup"]["customers"]), (&"pass".into(), &50.into()));
    let figure = |key: &str| {
        let figures = report["figures"].as_array().unwrap();
        figures.iter().find(|figure| figure["key"] == key).unwrap_or_else(|| panic!("{key} in {json}"))
    };
    assert_eq!(figure("not_fresh")["value"], 0.0);
    assert_eq!(figure("requests")["value"], 50.0);
    let fresh = figure("until_fresh");
    assert!(fresh["value"].as_f64() > fresh["bound"].as_f64(), "the time must be above the bound: {fresh}");
    assert!(figure("cpu")["value"].as_f64().unwrap() > 0.0);
    assert!(figure("peak_memory")["value"].as_f64().unwrap() > 1.0);
}

#[test]
fn a_pass_with_receivers_that_hang_is_measured_beside_one_without() {
    let small = ["pass", "--customers", "30", "--servers", "2", "--latency-ms", "1", "--brief", "--json"];
    let json = bench(&[&small[..], &["--hanging-receivers", "2"]].concat());
    let document: Value = serde_json::from_str(&json).unwrap();
    for (report, receivers) in document["reports"].as_array().unwrap().iter().zip([0, 2]) {
        assert_eq!(report["setup"]["hanging_receivers"], receivers, "{json}");
        let figures = report["figures"].as_array().unwrap();
        let figure = |key: &str| figures.iter().find(|figure| figure["key"] == key).map(|it| &it["value"]);
        assert_eq!(figure("not_fresh"), Some(&1.0.into()), "the parked one: {json}");
        assert!(figure("delay_p99").is_some(), "{json}");
    }
}

#[test]
fn behind_tls_later_connections_resume_a_session() {
    let json = bench(&[
        "pass",
        "--tls",
        "--customers",
        "40",
        "--servers",
        "1",
        "--latency-ms",
        "20",
        "--brief",
        "--json",
    ]);
    let document: Value = serde_json::from_str(&json).unwrap();
    let figures = document["reports"][0]["figures"].as_array().unwrap();
    let figure = |key: &str| {
        let figure = figures.iter().find(|figure| figure["key"] == key);
        figure.unwrap_or_else(|| panic!("{key} in {json}"))["value"].as_f64().unwrap()
    };
    assert_eq!(figure("not_fresh"), 0.0);
    assert_eq!(figure("handshakes"), figure("connections"));
    assert!(figure("resumed") > 0.0, "{json}");
    // A connection in its handshake carries no request yet, and its request may take one that has become idle instead.
    assert!(figure("connections_peak") <= 2.0 * figure("in_flight_peak"), "{json}");
}

#[test]
fn a_table_for_people_shows_two_runs_side_by_side() {
    let table = bench(&["growth", "--sizes", "5,10", "--servers", "2", "--latency-ms", "1"]);
    for expected in ["customers 5", "customers 10", "until all are fresh", "the work itself"] {
        assert!(table.contains(expected), "{expected} in {table}");
    }
}

#[test]
fn a_scrape_and_the_page_are_measured() {
    let small = ["rest", "--http", "--customers", "30", "--parked", "1", "--servers", "2"];
    let table = bench(&[&small[..], &["--wakes", "1", "--interval", "1", "--latency-ms", "1"]].concat());
    for expected in ["scrape of the metrics, p99", "the page's filter", "CPU of a page that is open"] {
        assert!(table.contains(expected), "{expected} in {table}");
    }
}

#[test]
fn a_store_that_does_not_exist_is_refused_in_words() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_bench")).args(["pass", "--store", "oracle"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("sqlite, fake-mssql or a connection string"),
        "{stderr}"
    );
}
