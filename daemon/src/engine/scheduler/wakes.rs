//! When the loop looks at the table: at every interval, and before that for whoever cannot wait.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait before a store that failed is tried again; it doubles up to the interval.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The times to come.
#[derive(Debug)]
pub(super) struct Wakes {
    interval: Duration,
    next_tick: Instant,
    early: Option<Instant>,
    /// The last look at the table.
    looked_at: Option<Instant>,
    store_failures: u32,
}

impl Wakes {
    /// The first interval begins now.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next_tick: Instant::now() + interval,
            early: None,
            looked_at: None,
            store_failures: 0,
        }
    }

    /// How often the loop looks at the table at least.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Another interval from now on.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.next_tick = self.next_tick.min(Instant::now() + interval);
    }

    /// The next time that the interval comes round.
    pub(super) fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// The next time before that, if there is one.
    pub(super) fn early(&self) -> Option<Instant> {
        self.early
    }

    /// Whichever comes first.
    pub(super) fn next(&self) -> Instant {
        self.early.map_or(self.next_tick, |early| early.min(self.next_tick))
    }

    /// The interval came round. Intervals that were slept through are not made up for.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick += self.interval;
        if self.next_tick <= now {
            self.next_tick = now + self.interval;
        }
    }

    /// The interval begins anew.
    pub(super) fn begin_interval(&mut self) {
        self.next_tick = Instant::now() + self.interval;
    }

    /// The loop looks at the table now.
    pub(super) fn looking(&mut self) {
        self.early = None;
        self.looked_at = Some(Instant::now());
    }

    /// As soon as nothing else is under way.
    pub(super) fn at_once(&mut self) {
        self.early = Some(Instant::now());
    }

    /// No sooner than the interval.
    pub(super) fn not_early(&mut self) {
        self.early = None;
    }

    /// Someone is due after this wait. Two looks at the table are some time apart all the same, counted from their
    /// beginnings: who became due during a long pass waits no longer.
    pub(super) fn in_time_for(&mut self, wait: Duration) {
        self.early = Some(self.time_for(wait)).filter(|early| *early < self.next_tick);
    }

    fn time_for(&self, wait: Duration) -> Instant {
        let now = Instant::now();
        let soonest = self.looked_at.map_or(now, |looked_at| looked_at + self.gap());
        (now + wait.min(self.interval)).max(soonest)
    }

    /// When a pass that begins now gives its checks up: as a customer is due after this wait, and some time before the next
    /// poll, so that none is skipped for a check.
    pub(super) fn end_of_checks(&self, wait: Option<Duration>) -> Instant {
        let before_tick = self.next_tick.checked_sub(self.interval / 8).unwrap_or(self.next_tick);
        wait.map_or(before_tick, |wait| self.time_for(wait).min(before_tick))
    }

    /// The store has failed: soon, and ever later while it keeps failing.
    pub(super) fn store_failed(&mut self) {
        self.store_failures = self.store_failures.saturating_add(1);
        let doublings = (self.store_failures - 1).min(16);
        let wait = STORE_RETRY.saturating_mul(1 << doublings).min(self.interval);
        self.early = Some(Instant::now() + wait);
    }

    /// The store has worked.
    pub(super) fn store_worked(&mut self) {
        self.store_failures = 0;
    }

    /// The shortest time between two looks: a twelfth of the interval, but neither less than a second nor so much that a
    /// token of a minute could lapse.
    fn gap(&self) -> Duration {
        (self.interval / 12).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_some_time_apart_but_nobody_waits_after_a_long_pass() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        wakes.looking();
        wakes.in_time_for(seconds(0));
        assert_eq!(wakes.next(), began + seconds(5));
        tokio::time::advance(seconds(20)).await;
        wakes.in_time_for(seconds(0));
        assert_eq!(wakes.next(), Instant::now(), "the gap has passed while the pass was under way");
        wakes.in_time_for(seconds(50));
        assert_eq!(wakes.next(), began + MINUTE, "the interval comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn intervals_that_were_slept_through_are_not_made_up_for() {
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(60)).await;
        wakes.tick();
        assert_eq!(wakes.next(), Instant::now() + MINUTE);
        tokio::time::advance(seconds(1000)).await;
        wakes.tick();
        assert_eq!(wakes.next(), Instant::now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_keeps_failing_is_tried_ever_later_but_once_an_interval() {
        let mut wakes = Wakes::new(MINUTE);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                wakes.store_failed();
                (wakes.early().unwrap() - Instant::now()).as_secs()
            })
            .collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        wakes.store_worked();
        wakes.store_failed();
        assert_eq!(wakes.early(), Some(Instant::now() + seconds(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_is_a_little_late_moves_no_later_one() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(70)).await;
        wakes.tick();
        assert_eq!(wakes.next_tick(), began + 2 * MINUTE);
        tokio::time::advance(seconds(50)).await;
        wakes.tick();
        assert_eq!(wakes.next_tick(), began + 3 * MINUTE, "at the very moment");
        tokio::time::advance(seconds(10)).await;
        wakes.begin_interval();
        assert_eq!(wakes.next_tick(), Instant::now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn another_interval_counts_from_now_but_delays_nothing() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(10)).await;
        wakes.set_interval(seconds(300));
        assert_eq!((wakes.interval(), wakes.next_tick()), (seconds(300), began + MINUTE));
        wakes.set_interval(seconds(20));
        assert_eq!((wakes.interval(), wakes.next_tick()), (seconds(20), Instant::now() + seconds(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_end_when_a_customer_is_due_and_before_the_next_tick() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        wakes.looking();
        assert_eq!(wakes.end_of_checks(Some(seconds(20))), began + seconds(20));
        assert_eq!(wakes.end_of_checks(Some(seconds(0))), began + seconds(5), "no poll comes sooner");
        let before_tick = began + MINUTE.mul_f64(0.875);
        for wait in [None, Some(seconds(58))] {
            assert_eq!(wakes.end_of_checks(wait), before_tick, "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_at_once_is_looked_at_once() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        assert_eq!((wakes.early(), wakes.next()), (None, began + MINUTE));
        wakes.at_once();
        assert_eq!(wakes.next(), began);
        wakes.not_early();
        assert_eq!(wakes.next(), began + MINUTE);
        wakes.at_once();
        wakes.looking();
        assert_eq!(wakes.early(), None, "that was the look");
        wakes.in_time_for(MINUTE);
        assert_eq!(wakes.early(), None, "the interval is in time");
    }

    #[tokio::test(start_paused = true)]
    async fn the_gap_between_two_looks_is_a_twelfth_of_the_interval_within_bounds() {
        for (interval, gap) in [(1, 1), (12, 1), (36, 3), (60, 5), (3_600, 5)] {
            let mut wakes = Wakes::new(seconds(interval));
            wakes.looking();
            wakes.in_time_for(seconds(0));
            let soonest = (interval > gap).then(|| Instant::now() + seconds(gap));
            assert_eq!(wakes.early(), soonest, "{interval} s");
        }
    }
}
