//! What the HTTP listener costs: a scrape, the page, and its filter over all customers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::asking::{self, Latencies, Question};
use super::report::{Report, Unit};
use super::stage::Run;
use crate::canary;
use crate::harness::{Installation, http};

/// How often each request is sent.
const TIMES: usize = 20;

/// The time between two polls of a page that is open.
const POLL: Duration = Duration::from_secs(2);

const API: &str = "/api/cron/refresh-tokens";

/// The listener of a daemon that is measured.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    port: u16,
    token: String,
}

impl Listener {
    /// Switches it on.
    pub(super) fn switch_on(installation: &mut Installation) -> Self {
        let listener =
            Self { port: http::free_port(), token: canary::password("the-http-token-of-the-benchmark") };
        let path = installation.folder().join("http-token");
        std::fs::write(&path, &listener.token).expect("a file in one's own folder");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("one's own file");
        installation.config().set("http.listen", format!("127.0.0.1:{}", listener.port));
        installation.config().set("http.token_file", path.to_str().expect("a folder in UTF-8"));
        listener
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> http::Answer {
        let authorization = format!("Bearer {}", self.token);
        let headers = [&[("Authorization", authorization.as_str())], headers].concat();
        let answer = http::ask(self.port, "GET", path, &headers, "");
        assert!(matches!(answer.status, 200 | 304), "{path}: {}", answer.head);
        answer
    }

    fn latencies(&self, path: &str) -> Latencies {
        let time = |_| {
            let began = Instant::now();
            self.get(path, &[]);
            began.elapsed()
        };
        Latencies::of((0..TIMES).map(time).collect())
    }

    /// Measures a scrape, the loop beside scrapes, the page, and its filter.
    pub(super) fn measure(&self, run: &Run, report: &mut Report) {
        report.latencies("scrape", "scrape of the metrics", &self.latencies("/metrics"));
        let socket = run.daemon.socket();
        let beside = asking::latencies_beside(socket, Question::Loop, || drop(self.get("/metrics", &[])));
        report.latencies("loop_beside_scrape", "the loop, beside scrapes", &beside);
        report.latencies("page", "the page's file", &self.latencies("/admin/token-refresh"));
        let filter = format!("{API}?text=9f&limit=200");
        report.latencies("filter", "the page's filter over all customers", &self.latencies(&filter));
        self.measure_idle_page(run, report);
    }

    /// Measures what a page costs that is open while nothing changes.
    fn measure_idle_page(&self, run: &Run, report: &mut Report) {
        let page = format!("{API}?state=parked&limit=200");
        let mut etag = String::new();
        let mut poll = || {
            let answer = self.get(&page, &[("If-None-Match", &etag)]);
            let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
            etag = tag.unwrap_or(&etag).to_owned();
            self.get("/api/events?limit=100", &[]);
        };
        poll();
        // Polls of the table run on other threads.
        let cpu = || run.process.cpu_of_threads("tokio-rt-worker");
        let before = cpu();
        (0..TIMES).for_each(|_| poll());
        let of_a_poll = cpu().saturating_sub(before).as_secs_f64() / TIMES as f64;
        report.add(
            "idle_page",
            "CPU of a page that is open",
            Unit::Percent,
            of_a_poll / POLL.as_secs_f64() * 100.0,
        );
    }
}
