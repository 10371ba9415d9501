//! The changes of a configuration that was read again: those that apply at once, and those that need a restart.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

/// The keys that a reload applies.
const TAKEN_OVER: [&str; 12] = [
    "http.allowed_hosts",
    "http.read_token_file",
    "http.token_file",
    "log.level",
    "schedule.interval",
    "schedule.refresh_window",
    "schedule.token_lifetime",
    "thingsboard.max_in_flight",
    "thingsboard.max_in_flight_per_host",
    "thingsboard.wrong_password_budget",
    "thingsboard.require_https",
    "thingsboard.verify_tokens",
];

/// Whether a reload applies this key.
pub fn is_taken_over(key: &str) -> bool {
    TAKEN_OVER.contains(&key)
}

/// All keys with their values, for comparison. `Debug` hides the values, which may hold secrets (a proxy's password).
#[derive(Clone, PartialEq)]
pub struct Keys(BTreeMap<String, Value>);

/// The differences of two configurations. `Display` is for the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Applied changes: key, old value, new value. None of them can hold a secret.
    pub taken_over: Vec<(String, String, String)>,
    /// Keys that need a restart.
    pub need_restart: Vec<String>,
}

impl Keys {
    pub(super) fn of(settings: &Table) -> Self {
        let keys = settings.iter().flat_map(|(section, keys)| {
            let keys = keys.as_table().into_iter().flatten();
            keys.map(move |(key, value)| (format!("{section}.{key}"), value.clone()))
        });
        Self(keys.collect())
    }

    /// Applies the keys of `new` that need no restart; the others stay different, and the next reload names them again.
    pub fn take_over(&mut self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in &mut self.0 {
            let Some(new) = new.0.get(key).filter(|new| *new != value) else { continue };
            if is_taken_over(key) {
                changes.taken_over.push((key.clone(), value.to_string(), new.to_string()));
                *value = new.clone();
            } else {
                changes.need_restart.push(key.clone());
            }
        }
        changes
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.taken_over.is_empty() && self.need_restart.is_empty() {
            return f.write_str("nothing has changed");
        }
        let taken_over: Vec<_> =
            self.taken_over.iter().map(|(key, old, new)| format!("{key} was {old}, is {new}")).collect();
        f.write_str(&taken_over.join("; "))?;
        if !self.need_restart.is_empty() {
            let and = if self.taken_over.is_empty() { "" } else { "; " };
            write!(f, "{and}changed, but needs a restart: {}", self.need_restart.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::DEFAULTS;
    use super::*;

    fn defaults() -> Table {
        toml::from_str(DEFAULTS).unwrap()
    }

    fn with(changes: &[(&str, &str, Value)]) -> Keys {
        let mut table = defaults();
        for (section, key, value) in changes {
            table.get_mut(*section).unwrap().as_table_mut().unwrap().insert((*key).to_owned(), value.clone());
        }
        Keys::of(&table)
    }

    #[test]
    fn every_key_that_is_taken_over_exists() {
        let keys = Keys::of(&defaults());
        for key in TAKEN_OVER {
            assert!(keys.0.contains_key(key), "{key}");
        }
    }

    #[test]
    fn applied_keys_are_named_with_values_and_others_until_the_restart() {
        let mut keys = Keys::of(&defaults());
        let new = with(&[
            ("schedule", "interval", "30s".into()),
            ("thingsboard", "max_in_flight", 7.into()),
            ("thingsboard", "proxy", "http://user:canary@proxy".into()),
            ("store", "path", "elsewhere.db".into()),
        ]);
        assert_eq!(
            keys.take_over(&new).to_string(),
            "schedule.interval was \"60s\", is \"30s\"; thingsboard.max_in_flight was 512, is 7; \
             changed, but needs a restart: store.path, thingsboard.proxy"
        );
        assert_eq!(
            keys.take_over(&new).to_string(),
            "changed, but needs a restart: store.path, thingsboard.proxy"
        );
        assert!(!format!("{new:?}").contains("canary"));
        let back = Keys::of(&defaults());
        assert_eq!(keys.take_over(&back).need_restart, Vec::<String>::new());
        assert_eq!(keys.take_over(&back).to_string(), "nothing has changed");
    }
}
