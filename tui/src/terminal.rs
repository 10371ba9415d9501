//! The terminal: taken over at the start, given back on every way out.

use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use ratatui::{Frame, Terminal};

use crate::backend::Quiet;

/// Whether the terminal is ours. Global, because the panic hook needs it too.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, on its alternate screen; as it was before when dropped.
pub(crate) struct Screen {
    terminal: Terminal<Quiet<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// The terminal does not allow it; it is as it was before.
    pub(crate) fn open() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let taken = execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)
            .and_then(|()| Terminal::new(Quiet::new(BufWriter::with_capacity(64 * 1024, stdout()))));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Its columns and rows.
    ///
    /// # Errors
    /// The terminal does not say.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        size()
    }

    /// Draws what has changed since the last time.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(drop)
    }

    /// Forgets what is on the screen, so that all of it is drawn the next time; takes over again what a suspension
    /// may have undone.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        self.terminal.clear()
    }

    /// Puts text into the clipboard of the terminal, wherever that runs (OSC 52).
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn copy(&mut self, text: String) -> io::Result<()> {
        let mut out = stdout();
        queue!(out, CopyToClipboard::to_clipboard_from(text))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once. Errors are of no use: either it worked or the terminal is gone.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// A panic's message on the alternate screen in raw mode would be lost or garbled: the terminal comes first.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            usual(info);
        }));
    });
}
