//! The layering of the daemon, checked in its sources: pure modules stay pure, imports run downward, and only some modules
//! use the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the sources, each with its path below `src`.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 30, "the sources were not found");
    sources
}

/// Returns the lines of code, without comments and without the tests at the end.
fn code(source: &str) -> impl Iterator<Item = &str> {
    let tests = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    source[..tests]
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .filter(|line| !line.trim().is_empty())
}

fn is_in_module(name: &str, modules: &[&str]) -> bool {
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
    modules.iter().any(|module| name.starts_with(module)) && !is_test
}

/// Asserts that no line of code in these modules holds one of the words.
fn assert_absent(modules: &[&str], words: &[&str]) {
    let sources = sources();
    for module in modules {
        assert!(
            sources.iter().any(|(name, _)| name.starts_with(module)),
            "there is no module {module} any more"
        );
    }
    for (name, source) in sources.iter().filter(|(name, _)| is_in_module(name, modules)) {
        for line in code(source) {
            for word in words {
                assert!(!line.contains(word), "{name} must not contain {word:?}: {line}");
            }
        }
    }
}

const PURE: [&str; 42] = [
    "config/changes",
    "model/",
    "engine/plan",
    "engine/checks",
    "engine/backoff",
    "engine/credentials",
    "engine/deferral",
    "engine/outcome",
    "engine/policy",
    "engine/pass/queues",
    "engine/state",
    "engine/event",
    "engine/history",
    "engine/view",
    "http/query",
    "notify/message",
    "notify/queue",
    "notify/timing",
    "thingsboard/gate",
    "thingsboard/answer",
    "store/error",
    "store/facts",
    "store/ledger",
    "store/schema",
    "doctor/clocks",
    "doctor/judge",
    "doctor/report",
    "store/timestamp",
    "store/mssql/address",
    "store/mssql/grants",
    "store/mssql/key_readers",
    "store/mssql/layout",
    "store/mssql/own_writes",
    "store/mssql/backoff",
    "store/mssql/problem",
    "store/mssql/quoted",
    "store/mssql/row_source",
    "store/mssql/statements",
    "store/mssql/trouble",
    "store/mssql/types",
    "store/mssql/zone",
    "text",
];

#[test]
fn pure_modules_have_no_clock_no_waiting_no_input_and_no_output() {
    assert_absent(
        &PURE,
        &[
            "async ",
            ".await",
            "tokio",
            "Utc::now",
            "Instant::now",
            "SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "std::io",
            "std::thread",
            "tracing",
            "println!",
            "rand::",
            "hyper",
            "reqwest",
            "rusqlite",
            "tiberius::Client",
        ],
    );
}

#[test]
fn imports_run_downward() {
    assert_absent(&["model/"], &["crate::engine", "crate::store", "crate::thingsboard", "crate::control"]);
    assert_absent(
        &["store/"],
        &["crate::engine", "crate::thingsboard", "crate::control", "crate::config", "crate::doctor"],
    );
    assert_absent(&["doctor/"], &["crate::engine", "crate::control", "crate::telemetry"]);
    assert_absent(&["thingsboard/"], &["crate::engine", "crate::store", "crate::control", "crate::config"]);
    assert_absent(&["engine/"], &["crate::control", "crate::http", "crate::config"]);
    assert_absent(&["http/"], &["crate::store", "crate::thingsboard", "crate::config", "engine::state"]);
    assert_absent(&["notify"], &["crate::control", "crate::http", "crate::config", "engine::state"]);
    assert_absent(
        &["control/"],
        &["crate::http", "crate::store", "crate::thingsboard", "crate::config", "engine::state"],
    );
}

/// The modules of the engine from the lowest layer up: each imports only those before it, so there are no cycles.
#[test]
fn no_module_of_the_engine_imports_one_above_it() {
    const LAYERS: [&[&str]; 9] = [
        &["backoff", "history", "outcome"],
        &["credentials"],
        &["policy", "deferral"],
        &["event"],
        &["state"],
        &["plan"],
        &["pass", "view"],
        &["handle"],
        &["scheduler"],
    ];
    for (layer, modules) in LAYERS.iter().enumerate() {
        let above = || LAYERS.iter().skip(layer + 1).copied().flatten();
        for module in *modules {
            // Modules of one layer do not import each other.
            let others = above().chain(modules.iter().filter(|other| *other != module));
            let words: Vec<String> = others
                .flat_map(|other| [format!("super::{other}::"), format!("crate::engine::{other}::")])
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_absent(&[&format!("engine/{module}")], &words);
        }
    }
    // Decisions about a customer need no client and no log.
    assert_absent(&["engine/credentials"], &["crate::thingsboard", "crate::telemetry"]);
    assert_absent(&["engine/plan", "engine/state", "engine/view"], &["crate::telemetry"]);
}

/// In the control server a session decides what its client may do; the code that accepts clients is above it.
#[test]
fn no_session_imports_the_server_that_made_it() {
    assert_absent(&["control/session"], &["super::server", "control::server"]);
}

/// Statements use the layout of SQL Server's tables; the layout uses no statement.
#[test]
fn the_layout_imports_no_statement() {
    assert_absent(&["store/mssql/layout", "store/mssql/quoted"], &["statements"]);
}

/// The session with SQL Server imports nothing about its tables, the facts about tables nothing of the connection, and the
/// connection nothing of the rows.
#[test]
fn the_transport_of_the_sql_server_imports_no_table() {
    const MODULES: [&str; 5] = ["session.rs", "record_storage", "connection.rs", "connections", "records"];
    for (layer, module) in MODULES.iter().enumerate() {
        let above: Vec<String> =
            MODULES[layer + 1..].iter().map(|module| format!("super::{module}::")).collect();
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        assert_absent(&[&format!("store/mssql/{module}")], &above);
    }
    assert_absent(
        &["store/mssql/session.rs", "store/mssql/connect.rs"],
        &["layout", "statements", "zone", "records"],
    );
}

/// Other modules call the log; of the engine it imports only the history.
#[test]
fn the_log_imports_only_the_history_of_the_engine() {
    assert_absent(
        &["telemetry/"],
        &[
            "crate::store",
            "crate::thingsboard",
            "crate::control",
            "crate::config",
            "crate::service",
            "crate::doctor",
        ],
    );
    // Neither stderr nor the record imports the journal.
    assert_absent(&["telemetry/stderr", "telemetry/record"], &["journal::"]);
    assert_absent(&["engine/history"], &["crate::telemetry", "crate::store", "scheduler", "pass"]);
    for (name, source) in sources().iter().filter(|(name, _)| is_in_module(name, &["telemetry/"])) {
        for line in code(source).filter(|line| line.contains("crate::engine")) {
            assert!(line.contains("crate::engine::history"), "{name} imports more of the engine: {line}");
        }
    }
}

/// `text.rs` imports the protocol too, for the list of hidden characters.
#[test]
fn only_the_view_the_metrics_and_the_ways_in_import_the_protocol() {
    let sources = sources();
    for (name, source) in &sources {
        if !is_in_module(name, &["engine/view", "control/", "http/", "metrics", "text.rs", "cli/man.rs"])
            && name != "http/tests.rs"
        {
            assert!(!code(source).any(|line| line.contains("tbtoken_proto")), "{name} imports the protocol");
        }
    }
}

#[test]
fn only_one_file_reads_the_wall_clock() {
    for (name, source) in sources() {
        let reads = code(&source).any(|line| line.contains("Utc::now"));
        assert_eq!(reads, name == "clock.rs", "{name}");
    }
}
