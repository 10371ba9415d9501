//! Looks at the ThingsBoard servers: whether each can be reached, and its TLS believed. Nothing secret is sent.

use futures_util::stream::{self, StreamExt};

use super::report::Finding;
use crate::config::Config;
use crate::model::BaseUrl;
use crate::thingsboard::Client;

/// How many are asked at a time.
const AT_A_TIME: usize = 32;

/// One finding a server that something is wrong with, and one about all the others.
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
    let answers: Vec<_> = stream::iter(urls)
        .map(|url| async move { (url, client.greet(url).await) })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    let mut findings = Vec::new();
    let mut fine = 0;
    for (url, answer) in answers {
        let shown = crate::text::url(url.endpoint("").as_str());
        match answer {
            Ok(status) if status < 500 => fine += 1,
            Ok(status) => findings.push(Finding::error(
                check,
                format!("{shown} answers with an internal error (HTTP {status})"),
                "Look at the log of this ThingsBoard, or of the proxy before it.",
            )),
            Err(failure) => {
                findings.push(Finding::error(check, format!("{shown}: {failure}"), failure.kind().remedy()));
            }
        }
    }
    if fine > 0 {
        let what = if fine == 1 { "1 server answers".to_owned() } else { format!("{fine} servers answer") };
        findings.insert(0, Finding::ok(check, format!("{what}; every certificate was verified")));
    }
    findings
}
