//! A password that is typed unseen on a terminal, or read as one line from standard input.

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Read as _, Write as _, stdin};
use std::thread;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

use crate::model::Secret;
use crate::text::printable;

/// More bytes than any password of ThingsBoard has.
const LONGEST: usize = 4096;

/// Reads the password of this customer.
pub(super) fn read(id: &str) -> io::Result<Secret> {
    let is_typed = stdin().is_terminal();
    let _unseen = is_typed.then(|| Unseen::begin(id)).transpose()?;
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    stdin().lock().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
    let wrong = |why| io::Error::new(ErrorKind::InvalidInput, why);
    let text = str::from_utf8(&line).map_err(|_| wrong("it is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    match text.strip_suffix('\r').unwrap_or(text) {
        "" => Err(wrong("it is empty; type it on a terminal, or give it as one line on standard input")),
        long if long.len() > LONGEST => Err(wrong("it is longer than 4096 bytes")),
        password => Ok(Secret::new(password)),
    }
}

/// A terminal that does not show what is typed, until this is dropped or the process is ended by a signal.
struct Unseen {
    before: Termios,
}

impl Unseen {
    fn begin(id: &str) -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut unseen = before.clone();
        unseen.local_flags.remove(LocalFlags::ECHO);
        unseen.local_flags.insert(LocalFlags::ECHONL);
        // Ctrl-Z would leave the terminal to the shell like this.
        unseen.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        let restored = before.clone();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        thread::spawn(move || {
            for signal in signals.forever() {
                // The process ends here, whether the terminal is still there or not.
                let _ = tcsetattr(stdin(), SetArg::TCSANOW, &restored);
                let _ = emulate_default_handler(signal);
            }
        });
        tcsetattr(stdin(), SetArg::TCSAFLUSH, &unseen)?;
        let asking = Self { before };
        write!(io::stderr(), "Password of {} (not shown): ", printable(id))?;
        Ok(asking)
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.before);
    }
}
