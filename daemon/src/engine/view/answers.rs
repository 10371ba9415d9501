//! What a [`Snapshot`] answers to `status` and `events`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tbtoken_proto as proto;

use super::replies::{ineligible, unknown};
use super::row::Row;
use super::{Snapshot, words};

impl Snapshot {
    /// The answer to `status`.
    ///
    /// # Errors
    /// A requested customer is not there.
    pub fn status(
        &self,
        query: &proto::StatusQuery,
        now: DateTime<Utc>,
    ) -> Result<proto::StatusReply, proto::Refusal> {
        let mut status = self.status_without_customers(query)?;
        let since = self.since(query);
        let changed = |row: &&Row| since.is_none_or(|since| row.revision > since.0);
        let rows: Vec<&Row> = match &query.customers {
            proto::Rows::None => return Ok(status),
            proto::Rows::All => self.rows.iter().map(AsRef::as_ref).collect(),
            proto::Rows::InTrouble(limit) => self.worst(*limit),
            proto::Rows::Only(ids) => ids.iter().filter_map(|id| self.find(id)).collect(),
            proto::Rows::Match(filter) => {
                let (rows, matched) = self.matching(filter);
                status.tokens.matched = Some(matched);
                rows
            }
        };
        if query.customers != proto::Rows::All {
            let names: HashSet<_> = rows.iter().filter_map(|row| proto::host_of(&row.url)).collect();
            status.servers = Some(self.changed_servers(since, |name| names.contains(name)));
        }
        status.tokens.customers = Some(rows.into_iter().filter(changed).map(|row| row.at(now)).collect());
        Ok(status)
    }

    /// The answer to `status` for all customers or none, before any customer is in it: the list is empty.
    ///
    /// # Errors
    /// A requested customer is not there.
    pub fn status_without_customers(
        &self,
        query: &proto::StatusQuery,
    ) -> Result<proto::StatusReply, proto::Refusal> {
        let mut tokens = self.tokens.clone();
        let since = self.since(query);
        tokens.complete = query.since.is_some() && since.is_none();
        if let Some(since) = since {
            let removed = self.removed.iter().filter(|(revision, _)| *revision > since.0);
            tokens.removed = removed.map(|(_, id)| id.to_string()).collect();
        }
        if let proto::Rows::Only(ids) = &query.customers {
            self.refuse_missing(ids)?;
        }
        if query.since.is_some() || matches!(query.customers, proto::Rows::None | proto::Rows::Only(_)) {
            tokens.ineligible.clear();
        }
        tokens.customers = (query.customers != proto::Rows::None).then(Vec::new);
        let servers = (query.customers == proto::Rows::All).then(|| self.changed_servers(since, |_| true));
        Ok(proto::StatusReply { cron: self.cron.clone(), tokens, servers, daemon: self.daemon.clone() })
    }

    /// Refuses ids that are not those of customers. A row that cannot be renewed goes first: its id is no other name of a
    /// customer.
    fn refuse_missing(&self, ids: &[String]) -> Result<(), proto::Refusal> {
        let missing = || ids.iter().filter(|id| !self.contains(id));
        let rows: Vec<_> = missing().filter_map(|id| Some((id.as_str(), self.ineligible.why(id)?))).collect();
        match missing().next() {
            _ if !rows.is_empty() => Err(ineligible(rows.into_iter())),
            Some(first) => Err(unknown(&[first.as_str()])),
            None => Ok(()),
        }
    }

    /// The first customer from `place` on in the answer to `status` for all customers, and the place after it. A caller
    /// that takes one at a time needs no copy of all of them.
    pub fn listed(
        &self,
        query: &proto::StatusQuery,
        place: usize,
        now: DateTime<Utc>,
    ) -> Option<(proto::Customer, usize)> {
        let since = self.since(query);
        let changed = |row: &Arc<Row>| since.is_none_or(|since| row.revision > since.0);
        let rest = self.rows.get(place..)?;
        let skipped = rest.iter().position(changed)?;
        rest.get(skipped).map(|row| (row.at(now), place + skipped + 1))
    }

    /// At most `limit` customers in trouble, the worst first.
    fn worst(&self, limit: usize) -> Vec<&Row> {
        let rows = self.rows.iter().map(AsRef::as_ref).filter(|row| row.in_trouble()).collect();
        first(rows, limit, Row::problems_first)
    }

    /// The customers that fit a filter, at most its limit, and how many fit in all.
    fn matching(&self, filter: &proto::Match) -> (Vec<&Row>, usize) {
        let words: Vec<String> = filter.text.split_whitespace().map(str::to_lowercase).collect();
        let mut room = String::new();
        let fits = |row: &&Row| row.fits(filter, &words, &mut room);
        let mut rows: Vec<&Row> = self.rows.iter().map(AsRef::as_ref).filter(fits).collect();
        let matched = rows.len();
        let rows = match filter.sort {
            proto::Sort::Problems => first(rows, filter.limit, Row::problems_first),
            proto::Sort::Left => first(rows, filter.limit, Row::least_left_first),
            proto::Sort::Customer => {
                rows.truncate(filter.limit);
                rows
            }
        };
        (rows, matched)
    }

    /// The revision that the client has. One of another process, or one before the oldest known removal, does not count.
    fn since(&self, query: &proto::StatusQuery) -> Option<proto::Revision> {
        query.since.filter(|since| (self.removed_floor..=self.daemon.revision.0).contains(&since.0))
    }

    /// The servers with these names that have changed.
    fn changed_servers(
        &self,
        since: Option<proto::Revision>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<proto::Server> {
        let changed = self.servers.iter().filter(|row| since.is_none_or(|since| row.revision > since.0));
        changed.map(|row| &row.server).filter(|server| is_wanted(&server.name)).cloned().collect()
    }

    /// The answer to `events`.
    pub fn events(&self, since: Option<proto::Seq>, limit: usize) -> proto::EventsReply {
        let shown = self.history.iter().filter_map(|notice| words::event(notice));
        let events: Vec<proto::Event> = match since {
            Some(since) => shown.filter(|event| event.seq > since).take(limit).collect(),
            None => {
                let mut newest: Vec<_> = shown.rev().take(limit).collect();
                newest.reverse();
                newest
            }
        };
        let last = self.history.iter().next_back().map(|notice| proto::Seq(notice.seq));
        let next = events.last().map(|event| event.seq).or(last).or(since).unwrap_or_default();
        proto::EventsReply { events, next }
    }
}

/// The first `limit` of `rows` in this order. All of them are compared, but only the first are sorted.
fn first(mut rows: Vec<&Row>, limit: usize, order: impl Fn(&Row, &Row) -> Ordering) -> Vec<&Row> {
    if limit < rows.len() {
        rows.select_nth_unstable_by(limit, |a, b| order(a, b));
        rows.truncate(limit);
    }
    rows.sort_unstable_by(|a, b| order(a, b));
    rows
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::{prop_assert_eq, proptest};
    use tbtoken_proto as proto;

    use super::super::{Identity, Loop};
    use super::*;
    use crate::engine::credentials::Settings;
    use crate::engine::event::Event;
    use crate::engine::policy::Policy;
    use crate::engine::state::State;
    use crate::model::{BaseUrl, Credentials, Customer, CustomerId, FingerprintKey, LoopState, Secret};
    use crate::store::Table;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// Customers by the minutes that their tokens have left, each on a server of its own.
    fn snapshot(customers: &[(&str, Option<i64>)]) -> Snapshot {
        let policy = Policy::of_a_minute();
        let mut state = State::new(policy.clone(), 100, Settings::of_a_minute());
        let customer = |&(id, minutes): &(&str, Option<i64>)| Customer {
            id: CustomerId::new(id),
            credentials: Credentials {
                url: format!("https://{id}.example").into(),
                username: "u".to_owned(),
                password: Secret::new("p"),
            },
            row_url: format!("https://{id}.example").into(),
            has_token: minutes.is_some(),
            expiry: minutes.map(|minutes| NOW + TimeDelta::minutes(minutes)),
        };
        let table = Table {
            customers: customers.iter().map(customer).collect(),
            ineligible: Vec::new(),
            problems: Vec::new(),
            records: Vec::new(),
            key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
            records_lost: None,
        };
        state.apply(Event::TableRead(table), NOW, 0.5);
        let cycle = Loop { state: LoopState::Running, refreshing: false, next_run_at: None, last_run: None };
        let identity =
            Identity { pid: 1, started_at: NOW, store: "sqlite".to_owned(), config_file: None, http: None };
        Snapshot::new(&state, &cycle, &identity, &policy, None, NOW)
    }

    #[test]
    fn the_worst_of_those_in_trouble_are_listed_and_all_of_them_counted() {
        let snapshot = snapshot(&[
            ("a", Some(60)),
            ("b", Some(-1)),
            ("c", None),
            ("d", Some(2)),
            ("e", Some(-30)),
            ("f", None),
        ]);
        let listed = |limit| {
            let query = proto::StatusQuery { customers: proto::Rows::InTrouble(limit), since: None };
            let status = snapshot.status(&query, NOW).unwrap();
            assert_eq!(status.tokens.summary.in_trouble, 4);
            status.tokens.customers.unwrap().into_iter().map(|row| row.customer_id).collect::<String>()
        };
        assert_eq!(listed(1), "e");
        assert_eq!(listed(3), "ebc");
        assert_eq!(listed(4), "ebcf");
        assert_eq!(listed(1000), "ebcf");
    }

    /// One pass over 5,000 customers makes as many events, and `tbctl events --since 1h` asks for all of them.
    #[test]
    fn ten_thousand_events_come_in_as_many_answers_as_they_need() {
        let policy = Policy::of_a_minute();
        let mut state = State::new(policy.clone(), 100, Settings::of_a_minute());
        for _ in 0..10_500 {
            state.apply(Event::LoopStarted, NOW, 0.5);
        }
        let cycle = Loop { state: LoopState::Running, refreshing: false, next_run_at: None, last_run: None };
        let identity =
            Identity { pid: 1, started_at: NOW, store: "sqlite".to_owned(), config_file: None, http: None };
        let snapshot = Snapshot::new(&state, &cycle, &identity, &policy, None, NOW);
        let (mut next, mut seen) = (proto::Seq(0), Vec::new());
        loop {
            let answer = snapshot.events(Some(next), proto::MAX_EVENTS);
            seen.extend(answer.events.iter().map(|event| event.seq.0));
            next = answer.next;
            if answer.events.len() < proto::MAX_EVENTS {
                break;
            }
        }
        assert!(seen.len() >= 10_000, "{}", seen.len());
        assert!(seen.is_sorted_by(|one, other| one + 1 == *other));
        assert_eq!(seen.last(), Some(&(100 + 10_500)));
    }

    #[test]
    fn a_filter_lists_the_customers_that_fit_and_counts_all_of_them() {
        let snapshot = snapshot(&[
            ("Anna", Some(60)),
            ("bert", Some(-1)),
            ("carl", None),
            ("dora", Some(2)),
            ("emil", Some(-30)),
            ("Téo", Some(90)),
        ]);
        let listed = |filter: proto::Match| {
            let query = proto::StatusQuery { customers: proto::Rows::Match(filter), since: None };
            let status = snapshot.status(&query, NOW).unwrap();
            let rows = status.tokens.customers.unwrap();
            let ids: Vec<String> = rows.iter().map(|row| row.customer_id.clone()).collect();
            let servers = status.servers.unwrap().into_iter().map(|server| server.name).collect::<Vec<_>>();
            let urls = |id: &String| proto::host_of(&format!("https://{id}.example")).unwrap();
            assert!(
                servers.iter().all(|server| ids.iter().map(urls).any(|name| name == *server)),
                "{servers:?}"
            );
            (ids.join(" "), status.tokens.matched.unwrap())
        };
        let all = proto::Match::default;
        let text = |text: &str| proto::Match { text: text.to_owned(), ..all() };
        let (by_left, by_id) = (proto::Sort::Left, proto::Sort::Customer);
        assert_eq!(listed(all()), ("emil bert carl dora Anna Téo".to_owned(), 6));
        assert_eq!(listed(proto::Match { limit: 2, ..all() }), ("emil bert".to_owned(), 6));
        assert_eq!(listed(proto::Match { sort: by_left, ..all() }).0, "carl emil bert dora Anna Téo");
        assert_eq!(listed(proto::Match { sort: by_id, limit: 3, ..all() }).0, "Anna Téo bert");
        assert_eq!(listed(text("AN")), ("Anna".to_owned(), 1));
        assert_eq!(listed(text("TÉO")), ("Téo".to_owned(), 1));
        assert_eq!(listed(text("example  expired")).0, "emil bert");
        assert_eq!(listed(text("nothing")), (String::new(), 0));
        let missing = vec![proto::TokenStatus::Missing, proto::TokenStatus::ExpiringSoon];
        assert_eq!(listed(proto::Match { status: missing.clone(), ..all() }), ("carl dora".to_owned(), 2));
        let parked = proto::Match { status: missing, state: vec![proto::Phase::Parked], ..all() };
        assert_eq!(listed(parked).1, 0);
    }

    proptest! {
        #[test]
        fn clients_find_the_server_of_a_customer_under_the_name_that_the_daemon_gives_it(
            url in " ?(https?|HTTP|Https)://([a-zA-Z][a-zA-Z0-9-]{0,8}\\.){0,2}[a-zA-Z][a-zA-Z0-9]{0,8}(:(80|443|8080|0?[0-9]{1,5})?)?(/[a-z]{0,5}){0,2} ?",
        ) {
            let named = BaseUrl::parse(&url).ok().map(|base| base.server_key().to_string());
            if named.is_some() {
                prop_assert_eq!(proto::host_of(&crate::text::url(url.trim())), named);
            }
        }
    }
}
