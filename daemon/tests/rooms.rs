//! The rules of the house, read off the sources: pure rooms stay pure, imports run downward, and only the rooms that
//! may know the protocol do.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test must end it, loudly")]

use std::fs;
use std::path::{Path, PathBuf};

/// The sources, each with its path below `src`.
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

/// The lines that are code, without comments and without the tests at the end.
fn code(source: &str) -> impl Iterator<Item = &str> {
    let tests = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    source[..tests]
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .filter(|line| !line.trim().is_empty())
}

fn in_room(name: &str, rooms: &[&str]) -> bool {
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
    rooms.iter().any(|room| name.starts_with(room)) && !is_test
}

/// Asserts that no code line of these rooms holds one of the words.
fn assert_absent(rooms: &[&str], words: &[&str]) {
    let sources = sources();
    for room in rooms {
        assert!(sources.iter().any(|(name, _)| name.starts_with(room)), "there is no room {room} any more");
    }
    for (name, source) in sources.iter().filter(|(name, _)| in_room(name, rooms)) {
        for line in code(source) {
            for word in words {
                assert!(!line.contains(word), "{name} must not contain {word:?}: {line}");
            }
        }
    }
}

const PURE: [&str; 38] = [
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
    "thingsboard/gate",
    "thingsboard/answer",
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
    "store/mssql/own",
    "store/mssql/patience",
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
fn pure_rooms_have_no_clock_no_waiting_no_input_and_no_output() {
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
    assert_absent(
        &["control/"],
        &["crate::http", "crate::store", "crate::thingsboard", "crate::config", "engine::state"],
    );
}

/// The rooms of the engine from the ground up: each knows those before it only, so there are no circles.
#[test]
fn no_room_of_the_engine_knows_one_above_it() {
    const FLOORS: [&[&str]; 9] = [
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
    for (floor, rooms) in FLOORS.iter().enumerate() {
        let above = || FLOORS.iter().skip(floor + 1).copied().flatten();
        for room in *rooms {
            // Neighbours do not know each other either.
            let others = above().chain(rooms.iter().filter(|other| *other != room));
            let words: Vec<String> = others
                .flat_map(|other| [format!("super::{other}::"), format!("crate::engine::{other}::")])
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_absent(&[&format!("engine/{room}")], &words);
        }
    }
    // What is decided of one customer is decided beside it, and the ledger is the only one that decides on passwords.
    assert_absent(&["engine/credentials"], &["crate::thingsboard", "crate::telemetry"]);
    assert_absent(&["engine/plan", "engine/state", "engine/view"], &["crate::telemetry"]);
}

/// In the control server, a session says what its client may do; the code that lets clients in is above it.
#[test]
fn no_session_knows_the_server_that_made_it() {
    assert_absent(&["control/session"], &["super::server", "control::server"]);
}

/// What is known of SQL Server's tables is put into statements, and knows none of them.
#[test]
fn the_layout_knows_no_statement() {
    assert_absent(&["store/mssql/layout", "store/mssql/quoted"], &["statements"]);
}

/// The code that talks to SQL Server knows nothing of its tables, what is known of them nothing of the one connection, and that
/// nothing of the rows that are read and written over it.
#[test]
fn the_transport_of_the_sql_server_knows_no_table() {
    const ROOMS: [&str; 5] = ["session", "keeping", "known", "connection", "records"];
    for (floor, room) in ROOMS.iter().enumerate() {
        let above: Vec<String> = ROOMS[floor + 1..].iter().map(|room| format!("super::{room}::")).collect();
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        assert_absent(&[&format!("store/mssql/{room}")], &above);
    }
    assert_absent(
        &["store/mssql/session", "store/mssql/connect.rs"],
        &["layout", "statements", "zone", "records"],
    );
}

/// The log is told things from above; all that it knows of the engine is the list of what happened.
#[test]
fn the_log_knows_no_more_of_the_engine_than_its_history() {
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
    // Its two ways out know what a record is, and nothing of each other but that stderr is there for the journal.
    assert_absent(&["telemetry/stderr", "telemetry/record"], &["journal::"]);
    assert_absent(&["engine/history"], &["crate::telemetry", "crate::store", "scheduler", "pass"]);
    for (name, source) in sources().iter().filter(|(name, _)| in_room(name, &["telemetry/"])) {
        for line in code(source).filter(|line| line.contains("crate::engine")) {
            assert!(line.contains("crate::engine::history"), "{name} knows more of the engine: {line}");
        }
    }
}

/// And `text.rs`, which takes from it what may be shown.
#[test]
fn only_the_view_and_the_sockets_know_the_protocol() {
    let sources = sources();
    for (name, source) in &sources {
        if !in_room(name, &["engine/view", "control/", "http/", "text.rs", "cli/man.rs"])
            && name != "http/tests.rs"
        {
            assert!(!code(source).any(|line| line.contains("tbtoken_proto")), "{name} knows the protocol");
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
