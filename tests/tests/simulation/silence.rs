//! Promise 20 in the loop itself: how long its work makes no progress. systemd's watchdog is fed by this.

use std::sync::Arc;

use tbtokend::engine::handle::Handle;
use tbtokend::engine::plan::Selection;
use tbtokend::engine::scheduler::Scheduler;
use tbtokend::model::{CustomerId, LoopState, Record, Renewal, RowToken};
use tbtokend::store::{
    LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table,
};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::run::Setup;
use super::servers::Servers;
use super::stage;
use super::store::Memory;
use super::world::{Behaviour, Shared, World};

/// A database on a disk that hangs as long as `hangs` is true.
struct Hanging {
    memory: Memory,
    hangs: watch::Receiver<bool>,
}

impl Hanging {
    async fn until_it_goes_on(&self) {
        // The channel closes with the test.
        let _ = self.hangs.clone().wait_for(|hangs| !hangs).await;
    }
}

impl Store for Hanging {
    fn describe(&self) -> String {
        self.memory.describe()
    }

    async fn read(&self, records: Records) -> Result<Table, StoreError> {
        self.until_it_goes_on().await;
        self.memory.read(records).await
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        self.until_it_goes_on().await;
        self.memory.save(batch).await
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        self.until_it_goes_on().await;
        self.memory.tokens(ids).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.until_it_goes_on().await;
        self.memory.record(batch).await
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        self.until_it_goes_on().await;
        self.memory.read_ledger(since).await
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        self.until_it_goes_on().await;
        self.memory.write_ledger(write).await
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        self.until_it_goes_on().await;
        self.memory.keep_loop_state(state).await
    }
}

/// Asks the loop for the silence; it must answer at once, whatever hangs.
async fn silence(handle: &Handle) -> Duration {
    let answer = timeout(Duration::from_millis(1), handle.silence()).await;
    answer.expect("the loop waits for a call that hangs").unwrap()
}

/// Runs `story` in a world with a database that can hang.
fn on_a_paused_clock<F: Future<Output = ()>>(story: impl FnOnce(Handle, watch::Sender<bool>, Shared) -> F) {
    stage::on_a_paused_clock(async {
        let world =
            Shared::new(World::new(Setup { customers: 1_500, servers: 2, daemons: 1, ..Setup::of(1) }));
        let killed = CancellationToken::new();
        let (hang, hangs) = watch::channel(false);
        let memory = Memory { world: world.clone(), daemon: 1, killed: killed.clone() };
        let (scheduler, handle) = Scheduler::new(stage::parts(
            &world,
            Hanging { memory, hangs },
            Servers { world: world.clone(), daemon: 1, killed },
        ));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        sleep(Duration::from_secs(20)).await;
        story(handle, hang, world).await;
        shutdown.cancel();
        task.await.unwrap();
    });
}

#[test]
fn p20_the_silence_of_a_database_that_hangs_grows_until_it_answers_again() {
    on_a_paused_clock(|handle, hang, _world| async move {
        assert_eq!(silence(&handle).await, Duration::ZERO, "nothing is under way");
        hang.send(true).unwrap();
        // The next poll is within an interval.
        let deadline = Instant::now() + Duration::from_secs(61);
        while silence(&handle).await == Duration::ZERO {
            assert!(Instant::now() < deadline, "a database that hangs is not noticed");
            sleep(Duration::from_millis(100)).await;
        }
        let mut before = silence(&handle).await;
        assert!(before <= Duration::from_millis(200), "it has only begun: {before:?}");
        // Many intervals pass, in which the timer has no effect.
        for _ in 0..40 {
            sleep(Duration::from_secs(15)).await;
            let now = silence(&handle).await;
            assert!(now >= before + Duration::from_secs(15), "it passes for progress: {before:?}, {now:?}");
            before = now;
        }
        hang.send(false).unwrap();
        sleep(Duration::from_secs(10)).await;
        assert!(silence(&handle).await <= Duration::from_secs(10), "it goes on and passes for silent");
    });
}

#[test]
fn p20_a_loop_that_was_stopped_is_never_silent() {
    on_a_paused_clock(|handle, _hang, _world| async move {
        handle.steer(false).await.unwrap();
        // The running call ends.
        sleep(Duration::from_secs(15)).await;
        for _ in 0..2_000 {
            // A stopped loop still polls its table now and then, which takes 20 ms here.
            let silent = silence(&handle).await;
            assert!(silent <= Duration::from_millis(20), "a stopped loop passes for stuck: {silent:?}");
            sleep(Duration::from_millis(1_700)).await;
        }
        handle.steer(true).await.unwrap();
    });
}

/// The order takes effect at once; only whether it is stored is not known yet.
#[test]
fn an_operator_is_answered_though_the_database_hangs() {
    on_a_paused_clock(|handle, hang, _world| async move {
        hang.send(true).unwrap();
        let began = Instant::now();
        let steered = handle.steer(false).await.unwrap();
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(steered.not_kept.as_deref(), Some("the database has not answered for 3 s"));
        assert!(!steered.already && !steered.snapshot.cron.running);
        hang.send(false).unwrap();
        sleep(Duration::from_secs(90)).await;
        let again = handle.steer(false).await.unwrap();
        assert_eq!((again.already, again.not_kept), (true, None), "it was stored when that could be done");
    });
}

/// Each answer counts as progress. Otherwise a long pass would look stuck.
#[test]
fn p20_a_pass_over_a_slow_server_makes_progress_with_each_answer() {
    on_a_paused_clock(|handle, _hang, world| async move {
        world.lock().servers[0].behaviour = Behaviour::Slow;
        let began = Instant::now();
        let mut answer = handle.refresh(Selection::All, true).await.unwrap();
        let mut longest = Duration::ZERO;
        while answer.try_recv().is_err() {
            longest = longest.max(silence(&handle).await);
            assert!(began.elapsed() < Duration::from_secs(3_600), "it has no end");
            sleep(Duration::from_millis(100)).await;
        }
        let took = began.elapsed();
        assert!(took > Duration::from_secs(8), "too short to tell: {took:?}");
        assert!(longest < Duration::from_secs(6), "{longest:?} of silence in {took:?}");
    });
}
