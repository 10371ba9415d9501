//! Promise 19: kill -9 at random moments of busy daemons, repeatedly on the same file, loses nothing that was promised.
//!
//! A story is one table, one ThingsBoard and a series of daemons that are killed. The seed decides all changes and the moments
//! of the kills (a number of requests and a time). A failed story prints its seed: `TBTOKEN_KILL_SEED=N` repeats it,
//! `TBTOKEN_KILL_SEEDS=N` runs the stories 1 to N. The seed does not fix the machine's timing, so `TBTOKEN_KILL_TIMES=N`
//! repeats a story that fails rarely.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};
use tbtoken_proto::Refresh;
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Daemon, Installation, Row, Table, wait};
use tbtoken_tests::rng::Rng;
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User, jwt};

const STORIES: u64 = 10;
const KILLS: usize = 10;
/// How many stories run at the same time.
const AT_ONCE: usize = 4;

/// The numbers of accounts with one row, and with two rows.
const SINGLE: usize = 24;
const SHARED: usize = 4;
/// The most accounts that begin with a wrong password.
const WRONG: usize = 7;

#[test]
fn p19_kill_9_at_a_hundred_random_moments_loses_nothing_that_was_promised() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds: Vec<u64> = match number("TBTOKEN_KILL_SEED") {
        Some(seed) => {
            vec![seed; number("TBTOKEN_KILL_TIMES").map_or(1, |times| usize::try_from(times).unwrap())]
        }
        None => (1..=number("TBTOKEN_KILL_SEEDS").unwrap_or(STORIES)).collect(),
    };
    let next = AtomicU64::new(0);
    let tell = || {
        let mut sum = Tally::default();
        while let Some(&seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
            let _seed = Seed(seed);
            sum.add(&Story::new(seed).tell());
        }
        sum
    };
    let tally = std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(tell)).collect();
        let mut sum = Tally::default();
        for teller in tellers {
            sum.add(&teller.join().expect("each story comes to its end"));
        }
        sum
    });
    println!("{tally:?}");
    // Enough daemons must be killed during their work.
    if seeds.len() as u64 >= STORIES {
        assert!(tally.kills_at_work * 3 > tally.kills, "few kills in the middle of the work: {tally:?}");
        assert!(tally.saved > 0 && tally.refused > 0 && tally.parked_at_a_start > 0, "{tally:?}");
    }
}

/// Prints the seed of a failed story.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("story {0}: TBTOKEN_KILL_SEED={0} tells it again", self.0);
        }
    }
}

/// The counters of a story.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Kills that left a customer without a token, or a rejection without its record.
    kills_at_work: u64,
    /// Tokens that were written.
    saved: u64,
    /// Wrong passwords that were sent.
    refused: u64,
    /// The part of them that was sent twice, because a daemon was killed before it wrote the record.
    sent_again: u64,
    /// Rejected accounts that a daemon found recorded at its start.
    parked_at_a_start: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.kills_at_work += other.kills_at_work;
        self.saved += other.saved;
        self.refused += other.refused;
        self.sent_again += other.sent_again;
        self.parked_at_a_start += other.parked_at_a_start;
    }
}

/// A user of ThingsBoard, and the password in its rows.
#[derive(Debug)]
struct Account {
    name: String,
    rows: Vec<String>,
    /// The password in the rows, and whether it is the user's.
    password: String,
    is_right: bool,
    /// The fingerprints of earlier passwords in records.
    old_fingerprints: Vec<String>,
    /// How often ThingsBoard has got this password, if it is wrong, and any wrong password of this user.
    sent: u64,
    sent_ever: u64,
}

/// A row as the file has it.
#[derive(Debug, Clone, Default)]
struct StoredRow {
    username: String,
    password: String,
    token: Option<String>,
    expiry: Option<DateTime<Utc>>,
    /// The fingerprint of the record, and whether it parks.
    record: Option<(String, bool)>,
}

struct Story {
    rng: Rng,
    thingsboard: ThingsBoard,
    installation: Installation,
    accounts: Vec<Account>,
    file: HashMap<String, StoredRow>,
    wrong_words: usize,
    tally: Tally,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let thingsboard = ThingsBoard::start();
        let users = thingsboard.add_many(SINGLE + SHARED, |n| User::new(format!("user{n}")));
        let (mut accounts, mut rows) = (Vec::new(), Vec::new());
        for (number, user) in users.iter().enumerate() {
            let ids: Vec<_> = match number < SINGLE {
                true => vec![format!("row{number}")],
                false => vec![format!("row{number}a"), format!("row{number}b")],
            };
            rows.extend(ids.iter().map(|id| Row::new(id, user)));
            accounts.push(Account {
                name: user.username.clone(),
                rows: ids,
                password: user.password.clone(),
                is_right: true,
                old_fingerprints: Vec::new(),
                sent: 0,
                sent_ever: 0,
            });
        }
        let latency = u64::try_from(rng.between(1, 30)).unwrap();
        thingsboard.set(Behaviour::Slow(Duration::from_millis(latency)));
        // A password in flight at a kill waits as long as a request may last, and several kills can affect one account.
        let installation = Installation::new()
            .with_rows(&rows)
            .with("thingsboard.request_timeout", "1s")
            .with("thingsboard.wrong_password_budget", 5);
        let mut story = Self {
            rng,
            thingsboard,
            installation,
            accounts,
            file: HashMap::new(),
            wrong_words: 0,
            tally: Tally::default(),
        };
        story.file = story.look();
        for _ in 0..WRONG {
            let number = story.rng.index(story.accounts.len());
            story.mistype(number);
        }
        story.write_rows();
        story
    }

    fn tell(mut self) -> Tally {
        for kill in 0..KILLS {
            // Sometimes the test does not open the file in between, so that the daemon finds the WAL of a killed one.
            if kill % 3 != 2 {
                self.change_world();
            }
            self.run_and_kill_daemon();
        }
        self.finish_work();
        self.tally
    }

    /// Makes changes of applications and people while no daemon runs.
    fn change_world(&mut self) {
        self.change_rows();
        self.write_rows();
    }

    fn change_rows(&mut self) {
        for number in 0..self.accounts.len() {
            let (is_right, rows) = (self.accounts[number].is_right, self.accounts[number].rows.clone());
            match is_right {
                true if self.rng.chance(10_000) => self.mistype(number),
                true => {
                    for row in rows {
                        if self.rng.chance(50_000) {
                            self.forget_token(&row);
                        }
                    }
                }
                false if self.rng.chance(15_000) => self.correct(number),
                false if self.rng.chance(15_000) => self.mistype(number),
                false => {}
            }
        }
    }

    fn mistype(&mut self, number: usize) {
        self.wrong_words += 1;
        let word = canary::password(&format!("wrong{}", self.wrong_words));
        self.set_password(number, word, false);
    }

    fn correct(&mut self, number: usize) {
        let right = canary::password(&self.accounts[number].name);
        self.set_password(number, right, true);
    }

    fn set_password(&mut self, number: usize, password: String, is_right: bool) {
        let rows = self.accounts[number].rows.clone();
        for row in &rows {
            self.forget_token(row);
            self.file.get_mut(row).unwrap().password.clone_from(&password);
        }
        let records = rows.iter().filter_map(|row| self.file[row].record.clone());
        let old = records.map(|(fingerprint, _)| fingerprint).collect();
        let account = &mut self.accounts[number];
        (account.password, account.is_right) = (password, is_right);
        (account.old_fingerprints, account.sent) = (old, 0);
    }

    fn forget_token(&mut self, row: &str) {
        let lying = self.file.get_mut(row).unwrap();
        (lying.token, lying.expiry) = (None, None);
    }

    /// Writes changed passwords and removed tokens into the file.
    fn write_rows(&self) {
        let mut connection = self.installation.table().connect();
        let transaction = connection.transaction().unwrap();
        for (row, lying) in &self.file {
            let sql = "UPDATE customer_settings SET tb_password = ?2,
                              tbtoken = CASE WHEN ?3 THEN tbtoken END,
                              tbtokenexpiry = CASE WHEN ?3 THEN tbtokenexpiry END
                        WHERE customer_id = ?1";
            let changed = transaction.execute(sql, params![row, lying.password, lying.token.is_some()]);
            assert_eq!(changed, Ok(1), "{row}");
        }
        transaction.commit().unwrap();
    }

    /// Whether the rejection of an account's password is in the file.
    fn is_recorded(&self, account: &Account) -> bool {
        let records = account.rows.iter().filter_map(|row| self.file[row].record.as_ref());
        records
            .into_iter()
            .any(|(fingerprint, parks)| *parks && !account.old_fingerprints.contains(fingerprint))
    }

    /// Returns how many requests the table needs.
    fn work(&self) -> u64 {
        let without = |account: &Account| account.rows.iter().any(|row| self.file[row].token.is_none());
        let waits = |account: &&Account| match account.is_right {
            true => without(account),
            false => !self.is_recorded(account),
        };
        self.accounts.iter().filter(waits).count() as u64
    }

    fn run_and_kill_daemon(&mut self) {
        let before = self.thingsboard.stats().requests;
        let work = self.work();
        let daemon = self.installation.launch();
        // Mostly after a request, during the work. Sometimes at any moment of the start, or after all work.
        if work > 0 && !self.rng.chance(12_000) {
            let requests = before + 1 + self.rng.below(work);
            let timeout = Duration::from_secs(2);
            // If they do not arrive, the kill comes at another moment, which is fine.
            let _ = self.thingsboard.wait_at_most(timeout, |tally| tally.server().requests >= requests);
            self.pause(25_000);
        } else {
            self.pause(400_000);
        }
        self.end(daemon, |daemon| {
            daemon.kill();
        });
        self.tally.kills += 1;
        if self.work() > 0 {
            self.tally.kills_at_work += 1;
        }
    }

    /// Waits a random time of at most `most` microseconds, which is a part of the moment of the kill.
    fn pause(&mut self, most: u64) {
        let until = Instant::now() + Duration::from_micros(self.rng.below(most));
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    /// Ends a daemon and checks the file.
    fn end(&mut self, mut daemon: Daemon, how: impl FnOnce(&mut Daemon)) {
        let recorded: Vec<bool> = self.accounts.iter().map(|account| self.is_recorded(account)).collect();
        how(&mut daemon);
        self.thingsboard.settle();
        let found = self.look();
        self.judge_rows(&found);
        self.file = found;
        self.judge_passwords(&recorded);
    }

    /// Checks that every row is complete, and that nothing in it was lost.
    fn judge_rows(&mut self, found: &HashMap<String, StoredRow>) {
        assert_eq!(found.len(), self.file.len());
        for account in &self.accounts {
            for row in &account.rows {
                let (now, before) = (&found[row], &self.file[row]);
                assert_eq!((&now.username, &now.password), (&account.name, &account.password), "{row}");
                assert_eq!(
                    now.token.is_some(),
                    now.expiry.is_some(),
                    "{row}: a token has its expiry: {now:?}"
                );
                assert!(now.expiry >= before.expiry, "{row}: {before:?} became {now:?}");
                let (Some(token), Some(expiry)) = (&now.token, now.expiry) else { continue };
                assert!(account.is_right, "{row} has a token for a wrong password");
                assert!(self.thingsboard.accepts(token), "{row} has an unknown token");
                let claims = jwt::peek(token).unwrap();
                assert_eq!(claims["sub"], account.name, "{row} has a token of another user");
                assert!(expiry.timestamp() <= claims["exp"].as_i64().unwrap(), "{row}: {expiry}");
                self.tally.saved += u64::from(now.token != before.token);
            }
        }
    }

    /// Checks that no wrong password is sent after its rejection is stored, and none twice by the same daemon.
    fn judge_passwords(&mut self, recorded: &[bool]) {
        for (number, &was_recorded) in recorded.iter().enumerate() {
            let account = &self.accounts[number];
            let sent_ever = self.thingsboard.user_stats(&account.name).wrong_passwords;
            let sent = sent_ever - account.sent_ever;
            let is_wrong = !account.is_right;
            let what = format!("{account:?}, recorded at the start: {was_recorded}");
            assert!(sent <= u64::from(is_wrong && !was_recorded), "sent {sent} times: {what}");
            assert!(!(was_recorded && is_wrong) || self.is_recorded(account), "the record is gone: {what}");
            self.tally.refused += sent;
            self.tally.sent_again += u64::from(sent > 0 && account.sent > 0);
            self.tally.parked_at_a_start += u64::from(was_recorded && is_wrong);
            let account = &mut self.accounts[number];
            (account.sent, account.sent_ever) = (account.sent + sent, sent_ever);
        }
    }

    /// Runs daemons without kills: all customers are renewed or parked, and the next daemon finds that in the file.
    fn finish_work(&mut self) {
        let rows = |is_right| {
            let accounts = self.accounts.iter().filter(|account| account.is_right == is_right);
            accounts.map(|account| account.rows.len()).sum::<usize>()
        };
        let (valid, parked) = (rows(true), rows(false));
        for daemon in 0..2 {
            let unharmed = self.installation.start();
            unharmed.until("all are renewed or parked", |status| {
                let summary = status.tokens.summary;
                summary.valid == valid && summary.parked == parked && !status.cron.refreshing
            });
            unharmed.refresh();
            let before = self.file.clone();
            self.end(unharmed, |daemon| assert!(daemon.stop().success()));
            assert_eq!(self.work(), 0, "something is not on the disk");
            let is_same = |row: &String| self.file[row].token == before[row].token;
            assert!(daemon == 0 || self.file.keys().all(is_same), "a good token was replaced");
        }
    }

    /// Reads the rows from a copy of the file, so that the daemon is the next to open the file itself.
    fn look(&self) -> HashMap<String, StoredRow> {
        let folder = self.installation.folder().join("copy");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["customers.db", "customers.db-wal"] {
            let (from, to) = (self.installation.folder().join(name), folder.join(name));
            match from.exists() {
                true => drop(std::fs::copy(from, to).unwrap()),
                false => drop(std::fs::remove_file(to)),
            }
        }
        let found = read(&Table::at(&folder.join("customers.db")).connect());
        std::fs::remove_dir_all(&folder).unwrap();
        found
    }
}

fn read(file: &Connection) -> HashMap<String, StoredRow> {
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let columns = "customer_id, tb_username, tb_password, tbtoken, tbtokenexpiry";
    let mut rows = file.prepare(&format!("SELECT {columns} FROM customer_settings")).unwrap();
    let rows = rows.query_map([], |row| {
        let expiry: Option<String> = row.get(4)?;
        let lying = StoredRow {
            username: row.get(1)?,
            password: row.get(2)?,
            token: row.get(3)?,
            expiry: expiry.map(|text| expiry_of(&text)),
            record: None,
        };
        Ok((row.get::<_, String>(0)?, lying))
    });
    let mut found: HashMap<_, _> = rows.unwrap().map(Result::unwrap).collect();
    let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'tbtokend_state'";
    if file.query_row(sql, [], |_| Ok(())).optional().unwrap().is_some() {
        let sql =
            "SELECT customer_id, credentials_fingerprint, parked FROM tbtokend_state WHERE kind IS NOT NULL";
        let mut records = file.prepare(sql).unwrap();
        let records =
            records.query_map([], |row| Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        for record in records {
            let (id, record) = record.unwrap();
            found.get_mut(&id).expect("a record is about a row").record = Some(record);
        }
    }
    found
}

fn expiry_of(text: &str) -> DateTime<Utc> {
    let row = Row { tbtokenexpiry: Some(text.to_owned()), ..Row::default() };
    row.expiry().unwrap_or_else(|| panic!("{text} is no expiry"))
}

#[test]
fn p19_a_refusal_is_on_the_disk_before_its_pass_is_over() {
    const BAD: usize = 5;
    let (thingsboard, silent) = (ThingsBoard::start(), ThingsBoard::start());
    silent.set(Behaviour::Silent);
    let waiting = Row::new("waiting", &silent.add(User::new("waiting")));
    let bad = thingsboard.add_many(BAD, |n| User::new(format!("bad{n}")));
    let wrong = |n: usize| Row::new(format!("bad{n}"), &bad[n]).password(canary::password("wrong"));
    let rows: Vec<_> = (0..BAD).map(wrong).chain([waiting]).collect();
    let installation = Installation::new().with_rows(&rows).with("thingsboard.request_timeout", "20s");
    let mut daemon = installation.start();
    let is_recorded = || {
        let file = read(&installation.table().connect());
        file.values().filter(|row| matches!(row.record, Some((_, true)))).count() == BAD
    };
    wait::poll(wait::TIMEOUT, || is_recorded().then_some(())).expect("the refusals are recorded");
    assert_eq!(silent.stats().in_flight, 1, "the pass is to be under way");
    daemon.kill();

    let daemon = installation.start();
    daemon.until("the next start knows them", |status| status.tokens.summary.parked == BAD);
    daemon.refresh_as(Refresh { wait: false, ..Refresh::default() });
    silent.wait_until("the next pass is under way", |tally| tally.server().requests >= 2);
    let sent: u64 = (0..BAD).map(|n| thingsboard.user_stats(&format!("bad{n}")).wrong_passwords).sum();
    assert_eq!(sent, BAD as u64);
}
