//! Checks outside the database: whether each ThingsBoard server answers with a valid certificate, and which users may read
//! the customers' file. It sends no secret.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures_util::stream::{self, StreamExt};

use super::report::Finding;
use crate::config::Config;
use crate::model::{BaseUrl, Secret, TokenAnswer, VerifyTokens};
use crate::notify;
use crate::text::printable;
use crate::thingsboard::{Client, Logins as _};

/// The most servers probed at a time.
const AT_A_TIME: usize = 32;

/// The most servers probed: some minutes of waiting if none of them answers.
const MOST: usize = 500;

/// A token that no server has issued, and no secret: ThingsBoard must reject it like one of an earlier signing key.
const FOREIGN_TOKEN: &str = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJ0YnRva2VuZC1kb2N0b3IifQ.\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The first bytes of every SQLite file (<https://www.sqlite.org/fileformat2.html>, "Magic Header String").
const BEGINNING: &[u8; 16] = b"SQLite format 3\0";

/// Whether SQLite accepts this file as a database: it accepts an empty one too. An unreadable file may be one.
pub(super) fn may_be_a_database(path: &Path) -> bool {
    let mut beginning = Vec::with_capacity(BEGINNING.len());
    let read =
        File::open(path).and_then(|file| file.take(BEGINNING.len() as u64).read_to_end(&mut beginning));
    read.is_err() || beginning.is_empty() || beginning == BEGINNING
}

/// Warns if all users can read a file with clear-text passwords. A group may have access on purpose: that of the
/// applications that read the tokens.
pub(super) fn file(path: &Path) -> Option<Finding> {
    let mode = path.metadata().ok()?.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        Finding::warning(
            "database",
            format!(
                "{path} holds passwords in clear text, and its mode {mode:04o} gives access to every user of this machine"
            ),
            format!("chmod o= {path}"),
        )
    })
}

/// Returns a finding for each server with a problem, and one for all others.
pub(super) async fn servers(config: &Config, urls: &[BaseUrl]) -> Vec<Finding> {
    let check = "thingsboard";
    let client = match Client::new(&config.client) {
        Ok(client) => client,
        Err(error) => {
            let found = crate::text::with_causes(&error);
            return vec![Finding::error(check, found, "Correct this setting of [thingsboard].")];
        }
    };
    let client = &client;
    let checks_tokens = config.policy.verify_tokens != VerifyTokens::Off;
    let answers: Vec<_> = stream::iter(urls.iter().take(MOST))
        .map(|url| async move {
            let answer = client.request_status(url).await;
            let rejects = checks_tokens && answer.is_ok() && rejects_foreign_token(client, url).await;
            (url, answer, rejects)
        })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    let mut findings = Vec::new();
    let (mut fine, mut fine_with_tls, mut rejecting) = (0, 0, 0);
    for (url, answer, rejects) in answers {
        let shown = crate::text::url(url.endpoint("").as_str());
        match answer {
            Ok(status) if status < 500 => {
                fine += 1;
                fine_with_tls += usize::from(url.is_https());
                rejecting += usize::from(rejects);
                if checks_tokens && !rejects {
                    findings.push(unnoticed(&shown));
                }
            }
            Ok(status) => findings.push(Finding::error(
                check,
                format!("{shown} answers with an internal error (HTTP {status})"),
                "See the log of this ThingsBoard, or of the proxy before it.",
            )),
            Err(failure) => {
                findings.push(Finding::error(check, format!("{shown}: {failure}"), failure.kind().remedy()));
            }
        }
    }
    if fine > 0 {
        findings.insert(0, Finding::ok(check, answering(fine, fine_with_tls)));
    }
    if !checks_tokens {
        let found = "thingsboard.verify_tokens is off: a token that ThingsBoard no longer accepts is replaced only when it ends";
        findings.push(Finding::note(DEAD_TOKENS, found));
    } else if rejecting > 0 {
        let servers =
            if rejecting == 1 { "1 server rejects" } else { &format!("{rejecting} servers reject") };
        findings.push(Finding::ok(
            DEAD_TOKENS,
            format!("{servers} a token of another signing key, so dead tokens are noticed"),
        ));
    }
    if let Some(left @ 1..) = urls.len().checked_sub(MOST) {
        findings.push(Finding::note(
            check,
            format!("{left} more servers were not probed; the doctor probes at most {MOST}"),
        ));
    }
    findings
}

/// Whether a check at this server recognizes a dead token.
async fn rejects_foreign_token(client: &Client, url: &BaseUrl) -> bool {
    matches!(client.check(url, &Secret::new(FOREIGN_TOKEN)).await, TokenAnswer::Dead(_))
}

/// The name of the check whether dead tokens are noticed.
const DEAD_TOKENS: &str = "dead tokens";

/// The answer about a token says nothing, so a dead one is taken for valid.
fn unnoticed(server: &str) -> Finding {
    Finding::warning(
        DEAD_TOKENS,
        format!("{server} does not reject a token of another signing key, so dead tokens are not noticed"),
        "Let the proxy before this ThingsBoard pass GET /api/auth/user with the header X-Authorization.",
    )
}

/// Returns a finding for each receiver of messages. Nothing is sent. Those that are `failing` did not take the last message of
/// the running daemon.
pub(super) async fn receivers(config: &Config, failing: &[(String, String)]) -> Vec<Finding> {
    let Some(settings) = &config.notify else { return Vec::new() };
    let check = "notify";
    let last_error = |name: &str| failing.iter().find(|(failing, _)| failing == name).map(|(_, error)| error);
    let probe = async |receiver: &notify::Receiver| match receiver.probe(&settings.frame).await {
        Ok(found) => match last_error(&receiver.name) {
            None => Finding::ok(check, format!("{}: {found}", receiver.name)),
            Some(error) => Finding::warning(
                check,
                format!("{}: {found}, but the last message failed: {}", receiver.name, printable(error)),
                "Send a test: tbctl notify test",
            ),
        },
        Err(error) => Finding::error(
            check,
            format!("{}: {error}", receiver.name),
            "Correct its section [[notify.receiver]], then send a test: tbctl notify test",
        ),
    };
    stream::iter(&settings.receivers).map(probe).buffered(AT_A_TIME).collect().await
}

/// Says how many servers answer, and how many of them have a valid certificate.
fn answering(fine: usize, with_tls: usize) -> String {
    let what = if fine == 1 { "1 server answers".to_owned() } else { format!("{fine} servers answer") };
    match with_tls {
        0 => format!("{what}, without TLS"),
        all if all == fine => format!("{what}; every certificate was verified"),
        some => format!("{what}; the certificates of {some} were verified, the others are without TLS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_with_tls_have_a_verified_certificate() {
        assert_eq!(answering(1, 0), "1 server answers, without TLS");
        assert_eq!(answering(3, 3), "3 servers answer; every certificate was verified");
        assert!(answering(3, 1).contains("the certificates of 1 were verified"));
    }
}
