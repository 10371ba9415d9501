//! Conversations with a scripted mail server.

use tokio::io::{DuplexStream, duplex};

use super::*;

/// The clock is paused: the time is over as soon as nothing happens any more.
async fn in_time<T>(read: impl Future<Output = io::Result<T>>) -> T {
    timeout(CONNECT_TIMEOUT, read).await.expect("the client waits in vain").unwrap()
}

/// A server that begins with the first text, and answers each of these lines. Returns what came that it did not expect.
async fn play(server: DuplexStream, first: &str, script: &[(&str, &str)]) -> String {
    let mut stream = BufReader::new(server);
    stream.write_all(first.as_bytes()).await.unwrap();
    for (expected, answer) in script {
        let mut came = String::new();
        while !came.ends_with(expected) && in_time(stream.read_line(&mut came)).await > 0 {}
        if came != *expected {
            return came;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    let mut rest = String::new();
    in_time(stream.read_to_string(&mut rest)).await;
    rest
}

async fn begin(stream: DuplexStream) -> Result<Smtp, Failure> {
    Smtp::begin(stream, "h.example".to_owned()).await
}

const EHLO: &str = "EHLO h.example\r\n";

#[tokio::test(start_paused = true)]
async fn a_mail_is_sent_line_by_line_and_no_line_of_it_ends_it() {
    let (client, server) = duplex(99_999);
    let talk = async {
        let mut smtp = begin(client).await.unwrap();
        smtp.command("MAIL FROM", "MAIL FROM:<a@b.example>").await.unwrap();
        smtp.mail(b"Subject: a\r\n\r\n.\r\n..b\r\nend").await.unwrap();
        smtp.quit().await;
    };
    let script = [
        (EHLO, "250-mail.example\r\n250 SIZE 9\r\n"),
        ("MAIL FROM:<a@b.example>\r\n", "250 \r\n"),
        ("DATA\r\n", "354\r\n"),
        ("Subject: a\r\n\r\n..\r\n...b\r\nend\r\n.\r\n", "250 ok\r\n"),
        ("QUIT\r\n", "221 bye\r\n"),
    ];
    let ((), unexpected) = tokio::join!(talk, play(server, "220-a\r\n220 b\r\n", &script));
    assert_eq!(unexpected, "");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_offers_only_login_gets_user_and_password_one_after_the_other() {
    let (client, server) = duplex(99_999);
    let talk = async { begin(client).await?.login("user", &Secret::new("canary")).await };
    let script = [
        (EHLO, "250-a\r\n250 auth LOGIN XOAUTH2\r\n"),
        ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"),
        ("dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"),
        ("Y2FuYXJ5\r\n", "535 5.7.8 canary\r\n"),
    ];
    let (told, unexpected) = tokio::join!(talk, play(server, "220 a\r\n", &script));
    let told = told.unwrap_err();
    assert_eq!(
        (told.said().as_str(), told.is_permanent(), unexpected.as_str()),
        ("SMTP 535 to AUTH", true, "")
    );
}

/// Neither a server without STARTTLS nor one that speaks out of turn gets anything, and above all no password.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_a_server_that_does_not_encrypt() {
    let tls = tls::client_config(tls::Trusted::AnyCertificate).unwrap();
    let tls = TlsConnector::from(std::sync::Arc::new(tls));
    for (offer, answer, said) in [
        ("250 AUTH PLAIN\r\n", "", "STARTTLS: the server does not offer it, so nothing is sent"),
        ("250 STARTTLS\r\n", "220 go\r\n250 injected\r\n", "STARTTLS: the server sent more before"),
        ("250 STARTTLS\r\n", "454 later\r\n", "SMTP 454 to STARTTLS"),
    ] {
        let (client, server) = duplex(99_999);
        let talk = async { begin(client).await?.starttls(&tls, "mail.example").await.map(|_| ()) };
        let hello = (EHLO, &*format!("250-a\r\n{offer}"));
        let script = [hello, ("STARTTLS\r\n", answer)];
        let script = if answer.is_empty() { &script[..1] } else { &script[..] };
        let (told, unexpected) = tokio::join!(talk, play(server, "220 a\r\n", script));
        let told = told.unwrap_err().said();
        assert!(told.starts_with(said), "{told}");
        assert_eq!(unexpected, "");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_or_sense_is_refused() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n", "220", "2 2 0\r\n", "2200 a\r\n", &"220-a\r\n".repeat(999)]
    {
        let (client, server) = duplex(99_999);
        let answer = async {
            let mut server = server;
            server.write_all(answer.as_bytes()).await.unwrap();
        };
        let (told, ()) = tokio::join!(begin(client), answer);
        assert_eq!(told.map(|_| ()).unwrap_err().said(), "the connection: unreadable answer");
    }
    let (client, server) = duplex(99_999);
    let endless = async {
        let mut server = server;
        server.write_all("220 a".repeat(9_000).as_bytes()).await.unwrap();
    };
    let (told, ()) = tokio::join!(begin(client), endless);
    assert_eq!(told.map(|_| ()).unwrap_err().said(), "the connection: unreadable answer");
}
