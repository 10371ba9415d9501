//! A mail server: Python's aiosmtpd, where it is installed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use crate::canary;
use crate::harness::http::free_port;
use crate::harness::wait::{TIMEOUT, poll};

/// The Pythons that may have it: the one of the path, and that of the system.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// Something that the server saw.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// `auth`, `rcpt` or `mail`.
    pub kind: String,
    /// Whether the connection was encrypted then.
    #[serde(default)]
    pub tls: bool,
    /// The recipients; of `auth` the password.
    #[serde(default)]
    pub to: String,
    /// The mail with its headers.
    #[serde(default)]
    pub text: String,
}

/// A mail server on a real socket. The drop ends it.
#[derive(Debug)]
pub struct SmtpServer {
    child: Child,
    port: u16,
    authority: PathBuf,
    seen: Arc<Mutex<Vec<Mail>>>,
}

impl SmtpServer {
    /// Starts one: `starttls`, `implicit` (both want a login with a password that ends in `right`), `none`, or `plain`, which
    /// takes passwords without TLS. Its certificate is written to the folder. `None` if no Python has aiosmtpd, which is said.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(mode: &str, folder: &Path) -> Option<Self> {
        let has_it = |python: &&str| {
            let mut command = Command::new(python);
            command.args(["-c", "import aiosmtpd"]).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let Some(python) = PYTHONS.into_iter().find(has_it) else {
            eprintln!("not run: no python3 has aiosmtpd");
            return None;
        };
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority = file("mail-certificate.pem", cert.pem());
        let key = file("mail-key.pem", signing_key.serialize_pem());
        let port = free_port();
        let mut child = Command::new(python)
            .args(["-c", include_str!("smtp.py"), mode])
            .args([&authority, &key])
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = Arc::<Mutex<Vec<Mail>>>::default();
        let (lines, all) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail: Mail = serde_json::from_str(&line).unwrap();
                canary::assert_clean("a mail", mail.text.as_bytes());
                all.lock().unwrap().push(mail);
            }
        });
        let server = Self { child, port, authority, seen };
        let _ = server.until(1, "ready");
        Some(server)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with its certificate.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// All of that kind that it saw so far.
    ///
    /// # Panics
    /// If the thread that reads has failed.
    #[must_use]
    pub fn seen(&self, kind: &str) -> Vec<Mail> {
        self.seen.lock().unwrap().iter().filter(|mail| mail.kind == kind).cloned().collect()
    }

    /// Waits until it has seen so many of that kind, and returns them.
    ///
    /// # Panics
    /// If they do not come.
    #[must_use]
    pub fn until(&self, count: usize, kind: &str) -> Vec<Mail> {
        poll(TIMEOUT, || Some(self.seen(kind)).filter(|seen| seen.len() >= count)).unwrap_or_else(|| {
            panic!("waited in vain for {count} × {kind}: {:#?}", self.seen.lock().unwrap())
        })
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
