//! The last changes of a customer, which its record stores.

use chrono::{DateTime, SecondsFormat, Utc};

use super::NoticeKind;

/// The most changes that are stored.
const MOST: usize = 8;

/// The text between two changes in the store.
const SEPARATOR: &str = "; ";

/// The last changes of one customer, oldest first. Most customers have none, which takes the memory of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes(Option<Box<List>>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct List(Vec<(DateTime<Utc>, NoticeKind)>);

impl Changes {
    /// Adds a change. A repeated failure is not a change.
    pub fn add(&mut self, at: DateTime<Utc>, kind: NoticeKind) {
        let List(list) = &mut **self.0.get_or_insert_default();
        let is_repeated = matches!(kind, NoticeKind::Failed | NoticeKind::Parked)
            && list.last().is_some_and(|(_, last)| *last == kind);
        if is_repeated {
            return;
        }
        if list.len() == MOST {
            list.remove(0);
        }
        list.push((at, kind));
    }

    /// Returns all changes, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (DateTime<Utc>, NoticeKind)> {
        self.0.iter().flat_map(|list| list.0.iter().copied())
    }

    /// Returns their text for the store, `2026-11-23T14:03:00Z parked; …`; empty if there are none.
    pub fn to_text(&self) -> String {
        let change = |(at, kind): (DateTime<Utc>, NoticeKind)| {
            format!("{} {}", at.to_rfc3339_opts(SecondsFormat::Secs, true), kind.name())
        };
        self.iter().map(change).collect::<Vec<_>>().join(SEPARATOR)
    }

    /// Reads the changes that [`to_text`](Self::to_text) wrote. It skips unreadable ones, such as kinds of a newer version.
    pub fn from_text(text: &str) -> Self {
        let change = |text: &str| {
            let (at, kind) = text.split_once(' ')?;
            let kind = NoticeKind::from_name(kind).filter(|kind| kind.is_remembered())?;
            Some((at.parse().ok()?, kind))
        };
        let mut list: Vec<_> = text.split(SEPARATOR).filter_map(change).collect();
        list.drain(..list.len().saturating_sub(MOST));
        Self((!list.is_empty()).then(|| Box::new(List(list))))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_last_eight_changes_are_kept_and_read_back() {
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let mut changes = Changes::default();
        assert_eq!((changes.to_text().as_str(), Changes::from_text("")), ("", Changes::default()));
        changes.add(at(0), NoticeKind::Failed);
        changes.add(at(1), NoticeKind::Failed);
        changes.add(at(2), NoticeKind::Parked);
        let text = "1970-01-01T00:00:00Z failed; 1970-01-01T00:02:00Z parked";
        assert_eq!(changes.to_text(), text, "the second failure is the same trouble");
        assert_eq!(Changes::from_text(text), changes);
        for minute in 3..20 {
            changes.add(at(minute), NoticeKind::Expired);
        }
        assert_eq!(changes.iter().count(), MOST);
        assert_eq!(changes.iter().next(), Some((at(12), NoticeKind::Expired)));
        assert_eq!(Changes::from_text(&changes.to_text()), changes);
        assert!(changes.to_text().len() <= 400, "its column in SQL Server holds so much");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let text = "1970-01-01T00:00:00Z renewed; yesterday parked; x; 1970-01-01T00:00:00Z parked; 1970-01-01T00:00:00Z new";
        assert_eq!(Changes::from_text(text).to_text(), "1970-01-01T00:00:00Z parked");
    }

    #[test]
    fn a_customer_without_changes_costs_a_pointer() {
        assert_eq!(size_of::<Changes>(), size_of::<usize>());
    }
}
