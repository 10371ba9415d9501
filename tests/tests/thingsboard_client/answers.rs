//! Answers that ThingsBoard never sends, and their error messages.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use tbtoken_tests::thingsboard::answer::Answer;
use tbtoken_tests::thingsboard::{Behaviour, Certificate, CertificateKind, ThingsBoard, TlsFront, User};
use tbtokend::model::{BaseUrl, Failure, UnexpectedAnswer};

use crate::ground::{FixedServer, TIMEOUT, client, log_in, log_in_as, words};

const NAME: &str = "ops@acme.example";

#[tokio::test]
async fn odd_answers_get_their_right_reasons() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    let unexpected = Failure::UnexpectedResponse;
    let many = |count| (0..count).fold(Answer::html(200, "x"), |answer, _| answer.with_header("X-Many", "v"));
    let wait = Some(Duration::from_secs(7));
    for (answer, failure) in [
        (
            Answer::html(200, "x").with_header("Content-Encoding", "gzip"),
            unexpected(UnexpectedAnswer::Encoded),
        ),
        (
            Answer::html(200, "x").with_header("Content-Encoding", "identity"),
            unexpected(UnexpectedAnswer::NotJson),
        ),
        (many(150), unexpected(UnexpectedAnswer::LongHead)),
        (many(90), unexpected(UnexpectedAnswer::NotJson)),
        (
            Answer::html(503, "x").with_header("Retry-After", "7"),
            Failure::ServerError { status: 503, retry_after: wait },
        ),
        (
            Answer::html(429, "x")
                .with_header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
                .with_header("Retry-After", "Sun, 06 Nov 1994 08:49:44 GMT"),
            Failure::RateLimited { retry_after: wait },
        ),
        (
            Answer::unauthorized("Authentication failed", chrono::DateTime::UNIX_EPOCH),
            Failure::AuthenticationFailed,
        ),
    ] {
        server.set(Behaviour::FixedAnswer(answer));
        assert_eq!(log_in_as(&client, &account, TIMEOUT).await.unwrap_err(), failure);
    }
}

#[tokio::test]
async fn http_and_https_have_different_messages() {
    let (server, client) = (ThingsBoard::start(), client());
    let front = TlsFront::new(&server, &Certificate::new(CertificateKind::Issued));
    let to_tls = format!("http://{}", front.address());
    let text = words(&client, &to_tls).await;
    let says = "the server does not speak HTTP on this port: if it is for https, write https:// into tb_url";
    assert!(text.starts_with(says), "{text}");
    let nginx = "<html>400 The plain HTTP request was sent to HTTPS port</html>";
    let says = FixedServer::new(format!(
        "HTTP/1.1 400 \r\nConnection: close\r\nContent-Length: {}\r\n\r\n{nginx}",
        nginx.len()
    ));
    let text = words(&client, &says.url()).await;
    assert!(text.starts_with("the server speaks TLS on this port: write https:// into tb_url"), "{text}");
    let status = client.request_status(&BaseUrl::parse(&says.url()).unwrap()).await;
    assert_eq!(status, Err(Failure::UnexpectedResponse(UnexpectedAnswer::Tls)), "the doctor says the same");

    let says = FixedServer::new("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let text = words(&client, &says.url().replace("http://", "https://")).await;
    let says =
        "the server cannot be reached: the server does not speak TLS on this port: write http:// into tb_url";
    assert!(text.starts_with(says), "{text}");
    assert_eq!(server.stats().requests, 0);
    let says = FixedServer::new("SSH-2.0-OpenSSH_9.6\r\n");
    assert_eq!(
        log_in(&client, &says.url(), TIMEOUT).await,
        Err(Failure::UnexpectedResponse(UnexpectedAnswer::NotHttp))
    );
}

#[tokio::test]
async fn interim_answers_are_ignored() {
    let says = "HTTP/1.1 100 Continue\r\n\r\n".repeat(2) + "HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n";
    let failure = log_in(&client(), &FixedServer::new(says).url(), TIMEOUT).await.unwrap_err();
    assert_eq!(failure, Failure::ServerError { status: 503, retry_after: None });
}

/// Other servers answer while some send interim answers without end.
#[tokio::test]
async fn p27_an_endless_answer_delays_no_other_server() {
    let (server, client) = (ThingsBoard::start(), client());
    let account = server.add(User::new(NAME));
    let (sender, answered) = std::sync::mpsc::channel();
    let mut endless = Vec::new();
    for _ in 0..8 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sender = sender.clone();
        std::thread::spawn(move || {
            let piece = "HTTP/1.1 100 Continue\r\n\r\n".repeat(4_000);
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = sender.send(());
            while stream.write_all(piece.as_bytes()).is_ok() {}
        });
        let client = client.clone();
        endless.push(tokio::spawn(async move { log_in(&client, &url, TIMEOUT * 6).await }));
    }
    let listening = tokio::task::spawn_blocking(move || answered.iter().take(8).count()).await;
    assert_eq!(listening.unwrap(), 8, "all of them send");
    for _ in 0..20 {
        assert!(log_in_as(&client, &account, Duration::from_secs(2)).await.is_ok());
    }
    assert!(endless.iter().all(|login| !login.is_finished()));
    endless.iter().for_each(tokio::task::JoinHandle::abort);
}
