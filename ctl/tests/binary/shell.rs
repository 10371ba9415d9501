//! A shell in a terminal, as a person uses it: keys in, screen out.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

use crate::common::GIVE_UP;

/// An interactive shell that knows where `tbctl` is.
pub(crate) struct Shell {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: String,
    _master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Shell {
    /// Starts it; none where it is not installed, which is said.
    pub(crate) fn start(program: &str, arguments: &[&str], socket: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap();
        if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
            eprintln!("not tested: {program} is not installed");
            return None;
        }
        let tbctl = Path::new(env!("CARGO_BIN_EXE_tbctl")).parent().unwrap().to_owned();
        let folders = std::iter::once(tbctl).chain(std::env::split_paths(&path));
        let size = PtySize { rows: 50, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env_clear();
        command.env("TERM", "dumb");
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command.env("HOME", "/");
        command.cwd("/");
        command.env("TBTOKEND_SOCKET", socket);
        command.env("LC_ALL", "C.UTF-8");
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Some(Self { child, keys, output, screen: String::new(), _master: pair.master })
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows this, and forgets everything up to it.
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + GIVE_UP / 2;
        loop {
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("no {text:?} on the screen: {:?}", self.screen)
            };
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Runs a command and waits until it is done.
    pub(crate) fn run(&mut self, command: &str) {
        // What is typed is shown, too; the mark is not typed in one piece.
        self.press(&format!("{command}; echo do''ne\r"));
        self.expect("done");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
