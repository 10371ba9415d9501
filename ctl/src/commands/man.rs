//! `man`: the manual page. A package makes its page with `tbctl man > tbctl.1`.

use clap::CommandFactory;
use tbtoken_proto::man::{self, Roff, item};

use crate::args::Args;
use crate::error::Error;
use crate::exit;

/// Makes the page.
pub(super) fn page() -> Result<String, Error> {
    let mut codes = Roff::new();
    for (code, meaning) in exit::MEANINGS {
        item(&mut codes, &code.to_string(), meaning);
    }
    let text = include_str!("../../../packaging/man/tbctl.1");
    let page = man::page(&Args::command(), text, &[("@EXIT STATUS@", codes)]).map_err(Error::Output)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_code_is_on_the_page() {
        let page = page().unwrap();
        assert!(!page.contains("\n@"), "an unreplaced placeholder:\n{page}");
        for sub in Args::command().get_subcommands() {
            let heading = format!(".SS \"tbctl {}", sub.get_name());
            assert_eq!(page.contains(&heading), !sub.is_hide_set(), "{heading}");
        }
        for (code, _) in exit::MEANINGS {
            assert!(page.contains(&format!("\\fB{code}\\fR")), "{code}");
        }
        for name in ["EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH \"{name}\"")) || page.contains(&format!(".SH {name}")),
                "{name}"
            );
        }
    }
}
