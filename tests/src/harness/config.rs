//! The configuration file of a daemon, key by key.

use std::path::Path;

/// A configuration that a test builds.
#[derive(Debug, Clone, Default)]
pub struct Config(toml::Table);

impl Config {
    /// Makes a configuration with the table and the two sockets in `folder`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name).to_str().expect("a folder in UTF-8").to_owned();
        let mut config = Self::default();
        config.set("store.kind", "sqlite");
        config.set("store.path", at("customers.db"));
        config.set("control.socket", at("control.sock"));
        config.set("control.monitor_socket", at("monitor.sock"));
        config.set("log.level", "trace");
        config.set("log.target", "stderr");
        config
    }

    /// Sets one key, such as `schedule.interval`.
    ///
    /// # Panics
    /// If a part of the key before the last is not a table.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        let (table, name) = self.table(key);
        table.insert(name.to_owned(), value.into());
    }

    /// Removes a key.
    pub fn unset(&mut self, key: &str) {
        let (table, name) = self.table(key);
        table.remove(name);
    }

    /// Returns the value of a key, if it is a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let mut value = None;
        for part in key.split('.') {
            value = match value {
                None => self.0.get(part),
                Some(value) => toml::Value::get(value, part),
            };
            value?;
        }
        value.and_then(toml::Value::as_str)
    }

    /// Writes the configuration to a file.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) {
        let text = toml::to_string(&self.0).expect("a table can be written as TOML");
        // Written in one step, so that a daemon that is just starting does not read half of it.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(&draft, path))
            .unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
    }

    fn table<'k>(&mut self, key: &'k str) -> (&mut toml::Table, &'k str) {
        let (parents, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.0;
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            let entry = table.entry(parent).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().unwrap_or_else(|| panic!("{parent} of {key} is no table"));
        }
        (table, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_tables() {
        let mut config = Config::in_folder(Path::new("/tmp/x"));
        config.set("schedule.interval", "1s");
        config.set("thingsboard.max_in_flight", 7);
        config.unset("control.monitor_socket");
        assert_eq!(config.text("schedule.interval"), Some("1s"));
        assert_eq!(config.text("control.monitor_socket"), None);
        assert_eq!(config.text("control.socket"), Some("/tmp/x/control.sock"));
    }
}
