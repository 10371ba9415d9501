//! When the loop polls: at every interval, and earlier for a customer that is due or a store that failed.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait before a store that failed is tried again; it doubles up to the interval.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The times of the next polls.
#[derive(Debug)]
pub(super) struct Wakes {
    /// The longest time between two polls.
    pub(super) interval: Duration,
    /// The end of the interval.
    pub(super) next_tick: Instant,
    /// The time of an earlier poll, if there is one.
    pub(super) early: Option<Instant>,
    /// When the last poll began.
    polled_at: Option<Instant>,
    store_failures: u32,
}

impl Wakes {
    /// Makes the times for an interval that begins now.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next_tick: Instant::now() + interval,
            early: None,
            polled_at: None,
            store_failures: 0,
        }
    }

    /// Changes the interval. A longer one does not delay the next poll.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.next_tick = self.next_tick.min(Instant::now() + interval);
    }

    /// The time of the next poll.
    pub(super) fn next(&self) -> Instant {
        self.early.map_or(self.next_tick, |early| early.min(self.next_tick))
    }

    /// The interval has ended. Intervals that passed while the machine slept are not made up for.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick += self.interval;
        if self.next_tick <= now {
            self.next_tick = now + self.interval;
        }
    }

    /// Begins a new interval.
    pub(super) fn begin_interval(&mut self) {
        self.next_tick = Instant::now() + self.interval;
    }

    /// A poll begins.
    pub(super) fn poll_began(&mut self) {
        self.early = None;
        self.polled_at = Some(Instant::now());
    }

    /// The next poll begins as soon as no job is under way.
    pub(super) fn wake_at_once(&mut self) {
        self.early = Some(Instant::now());
    }

    /// Drops the earlier poll: the next one is at the end of the interval.
    pub(super) fn cancel_early(&mut self) {
        self.early = None;
    }

    /// A customer is due after this wait; an earlier poll stays. Two polls still begin at least a gap apart. After a long pass
    /// the gap has passed already, so a customer that became due during the pass does not wait.
    pub(super) fn wake_in_time_for(&mut self, wait: Duration) {
        let early = self.early.into_iter().chain([self.time_for(wait)]).min();
        self.early = early.filter(|early| *early < self.next_tick);
    }

    fn time_for(&self, wait: Duration) -> Instant {
        let now = Instant::now();
        let soonest = self.polled_at.map_or(now, |polled_at| polled_at + self.gap());
        (now + wait.min(self.interval)).max(soonest)
    }

    /// When a pass that begins now ends its checks. It ends them when a customer is due after this wait, and in time for
    /// the next poll.
    pub(super) fn end_of_checks(&self, wait: Option<Duration>) -> Instant {
        let before_tick = self.next_tick.checked_sub(self.interval / 8).unwrap_or(self.next_tick);
        wait.map_or(before_tick, |wait| self.time_for(wait).min(before_tick))
    }

    /// The store has failed: the next poll is soon, and later each time while it keeps failing.
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

    /// The shortest time between two polls: a twelfth of the interval, at least a second. It is at most five seconds, so that
    /// a token of a minute cannot lapse.
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
    async fn polls_are_some_time_apart_but_no_customer_waits_after_a_long_pass() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        wakes.poll_began();
        wakes.wake_in_time_for(seconds(0));
        assert_eq!(wakes.next(), began + seconds(5));
        tokio::time::advance(seconds(20)).await;
        wakes.wake_in_time_for(seconds(0));
        assert!(wakes.next() <= Instant::now(), "the gap has passed while the pass was under way");
        wakes.poll_began();
        wakes.wake_in_time_for(seconds(50));
        assert_eq!(wakes.next(), began + MINUTE, "the interval comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn intervals_during_sleep_are_not_made_up_for() {
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(60)).await;
        wakes.tick();
        assert_eq!(wakes.next(), Instant::now() + MINUTE);
        tokio::time::advance(seconds(1000)).await;
        wakes.tick();
        assert_eq!(wakes.next(), Instant::now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_keeps_failing_is_tried_less_often_but_once_an_interval() {
        let mut wakes = Wakes::new(MINUTE);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                wakes.store_failed();
                (wakes.early.unwrap() - Instant::now()).as_secs()
            })
            .collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        wakes.store_worked();
        wakes.store_failed();
        assert_eq!(wakes.early, Some(Instant::now() + seconds(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_delays_no_customer_and_a_customer_no_store() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        wakes.poll_began();
        (0..4).for_each(|_| wakes.store_failed());
        for (wait, next) in [(50, 40), (20, 20), (30, 20)] {
            wakes.wake_in_time_for(seconds(wait));
            assert_eq!(wakes.next(), began + seconds(next), "{wait} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_is_a_little_late_moves_no_later_one() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(70)).await;
        wakes.tick();
        assert_eq!(wakes.next_tick, began + 2 * MINUTE);
        tokio::time::advance(seconds(50)).await;
        wakes.tick();
        assert_eq!(wakes.next_tick, began + 3 * MINUTE, "at the very moment");
        tokio::time::advance(seconds(10)).await;
        wakes.begin_interval();
        assert_eq!(wakes.next_tick, Instant::now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn another_interval_counts_from_now_but_delays_nothing() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        tokio::time::advance(seconds(10)).await;
        wakes.set_interval(seconds(300));
        assert_eq!((wakes.interval, wakes.next_tick), (seconds(300), began + MINUTE));
        wakes.set_interval(seconds(20));
        assert_eq!((wakes.interval, wakes.next_tick), (seconds(20), Instant::now() + seconds(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_end_when_a_customer_is_due_and_before_the_next_tick() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        wakes.poll_began();
        assert_eq!(wakes.end_of_checks(Some(seconds(20))), began + seconds(20));
        assert_eq!(wakes.end_of_checks(Some(seconds(0))), began + seconds(5), "no poll comes sooner");
        let before_tick = began + MINUTE.mul_f64(0.875);
        for wait in [None, Some(seconds(58))] {
            assert_eq!(wakes.end_of_checks(wait), before_tick, "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_at_once_is_the_next_one_and_can_be_cancelled() {
        let began = Instant::now();
        let mut wakes = Wakes::new(MINUTE);
        assert_eq!((wakes.early, wakes.next()), (None, began + MINUTE));
        wakes.wake_at_once();
        assert_eq!(wakes.next(), began);
        wakes.cancel_early();
        assert_eq!(wakes.next(), began + MINUTE);
        wakes.wake_at_once();
        wakes.poll_began();
        assert_eq!(wakes.early, None, "that was the poll");
        wakes.wake_in_time_for(MINUTE);
        assert_eq!(wakes.early, None, "the interval is in time");
    }

    #[tokio::test(start_paused = true)]
    async fn the_gap_between_two_polls_is_a_twelfth_of_the_interval_within_bounds() {
        for (interval, gap) in [(1, 1), (12, 1), (36, 3), (60, 5), (3_600, 5)] {
            let mut wakes = Wakes::new(seconds(interval));
            wakes.poll_began();
            wakes.wake_in_time_for(seconds(0));
            let soonest = (interval > gap).then(|| Instant::now() + seconds(gap));
            assert_eq!(wakes.early, soonest, "{interval} s");
        }
    }
}
