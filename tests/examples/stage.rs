//! A fake ThingsBoard and a table with its customers, for tests that are not Rust programs. `stage FILE` makes the SQLite
//! file, prints the server's URL, and serves until it is killed.

#![allow(clippy::expect_used, reason = "what goes wrong must end it, loudly")]

use std::path::PathBuf;

use tbtoken_tests::canary;
use tbtoken_tests::harness::{Row, Table};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

fn main() {
    let file: PathBuf = std::env::args_os().nth(1).expect("usage: stage FILE").into();
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let bad = Row::new("bad", &thingsboard.add(User::new("bad"))).password(canary::password("wrong"));
    let table = Table::at(&file);
    table.create();
    table.insert([&good, &bad]);
    println!("{}", thingsboard.url());
    loop {
        std::thread::park();
    }
}
