//! The environment variables that describe the terminal: whether it can draw, with which characters and colours.

use std::ffi::OsString;

use clap::ColorChoice;

/// The relevant variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    term: String,
    locale: String,
    no_color: bool,
}

impl Environment {
    /// Reads the variables through `get`.
    pub(crate) fn of(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let text =
            |name: &str| get(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        // The first that is set counts, in this order: setlocale(3).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(text).into_iter().find(|value| !value.is_empty());
        Self {
            term: text("TERM"),
            locale: locale.unwrap_or_default(),
            // https://no-color.org: it counts unless it is empty.
            no_color: !text("NO_COLOR").is_empty(),
        }
    }

    /// Whether the terminal says that it cannot move its cursor.
    pub(crate) fn is_dumb(&self) -> bool {
        self.term == "dumb"
    }

    /// Whether to use colours.
    pub(crate) fn colors(&self, choice: ColorChoice) -> bool {
        match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !self.no_color,
        }
    }

    /// Whether to draw with ASCII only by default: in a locale that is not UTF-8, and on the Linux console, whose fonts
    /// have 256 characters. Without a locale (SSH without `SendEnv`, a container) the terminal most likely knows UTF-8.
    pub(crate) fn wants_ascii(&self) -> bool {
        let locale = self.locale.to_ascii_lowercase();
        let utf8 = locale.is_empty() || locale.contains("utf-8") || locale.contains("utf8");
        self.term == "linux" || !utf8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn ascii_is_chosen_where_lines_could_not_be_drawn() {
        for (variables, ascii) in [
            (&[][..], false),
            (&[("TERM", "xterm-256color"), ("LANG", "de_DE.UTF-8")], false),
            (&[("TERM", "screen"), ("LC_CTYPE", "C.utf8")], false),
            (&[("TERM", "linux"), ("LANG", "en_US.UTF-8")], true),
            (&[("LANG", "C")], true),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "POSIX")], true),
            (&[("LANG", "de_DE.ISO-8859-1"), ("LC_CTYPE", "de_DE.UTF-8")], false),
            (&[("LANG", "C"), ("LC_ALL", "")], true),
        ] {
            assert_eq!(environment(variables).wants_ascii(), ascii, "{variables:?}");
        }
    }

    #[test]
    fn no_color_counts_unless_it_is_empty_or_overruled() {
        for (no_color, auto) in [("1", false), ("0", false), ("", true)] {
            let environment = environment(&[("NO_COLOR", no_color)]);
            assert_eq!(environment.colors(ColorChoice::Auto), auto, "NO_COLOR={no_color}");
            assert!(environment.colors(ColorChoice::Always) && !environment.colors(ColorChoice::Never));
        }
        assert!(environment(&[]).colors(ColorChoice::Auto));
    }

    #[test]
    fn only_a_dumb_terminal_is_dumb() {
        assert!(environment(&[("TERM", "dumb")]).is_dumb());
        assert!(!environment(&[("TERM", "xterm")]).is_dumb() && !environment(&[]).is_dumb());
    }
}
