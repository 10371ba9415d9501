//! A fake in its own process: this program, started again with a hidden subcommand.
//!
//! Each line of JSON on its standard input is an order; a line on its standard output is the answer. The process ends with
//! its input, so it never outlives the benchmark.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::usage::Watched;

/// The process, as the benchmark holds it.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it.
    pub(super) fn start(subcommand: &str) -> Self {
        let program = std::env::current_exe().expect("the path of this very program");
        let mut child = Command::new(program)
            .arg(subcommand)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, orders, answers }
    }

    /// Gives an order and waits for the answer.
    pub(super) fn ask<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> A {
        let line = serde_json::to_string(order).expect("an order is JSON");
        writeln!(self.orders, "{line}").expect("the fake reads");
        let answer = self.answers.next().expect("the fake is there").expect("it answers");
        serde_json::from_str(&answer).expect("the answer to what was asked")
    }

    /// The CPU time that it has used.
    pub(super) fn cpu(&self) -> Duration {
        Watched::new(i32::try_from(self.child.id()).expect("process ids fit")).cpu()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as the process: answers every order until its standard input ends.
pub(super) fn serve<O: DeserializeOwned>(mut answer: impl FnMut(O) -> serde_json::Value) {
    crate::harness::process::raise_descriptor_limit();
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        println!("{}", answer(serde_json::from_str(&line).expect("an order is JSON")));
    }
}
