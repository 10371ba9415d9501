//! Tests of `thingsboard.proxy`: the requests through it, and the messages if it does not work.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use tbtoken_tests::harness::http::free_port;
use tbtoken_tests::thingsboard::{Certificate, CertificateKind, ThingsBoard, TlsFront, User};
use tbtokend::model::{Failure, UnexpectedAnswer};
use tbtokend::thingsboard::{Client, ClientSettings};

use crate::ground::{FixedServer, TIMEOUT, log_in, settings, words};

const NAME: &str = "ops@acme.example";

fn through(proxy: &str) -> ClientSettings {
    ClientSettings { proxy: Some(proxy.to_owned()), ..settings() }
}

/// Starts a proxy that makes one tunnel after the other. Returns its address, and the heads of its requests.
fn tunnels() -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && near.read(&mut byte).is_ok_and(|read| read > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            heads.send(head).unwrap();
            let mut far = TcpStream::connect(target).unwrap();
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut far, &mut near));
        }
    });
    (address, seen)
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_to_the_proxy_itself() {
    let server = ThingsBoard::start();
    server.add(User::new(NAME));
    let (certificate, folder) = (Certificate::new(CertificateKind::Issued), tempfile::tempdir().unwrap());
    let front = TlsFront::new(&server, &certificate);
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &certificate.authority).unwrap();
    let (proxy, seen) = tunnels();
    let settings =
        ClientSettings { ca_file: Some(ca_file), ..through(&format!("http://u:canary-pw-proxy@{proxy}")) };
    let client = Client::new(&settings).unwrap();
    assert!(log_in(&client, &front.url(), TIMEOUT).await.is_ok());
    let head = seen.recv().unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", front.address())), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");

    // With plain HTTP, the proxy gets the whole URL.
    let client = Client::new(&through(&format!("http://{}", server.address()))).unwrap();
    let failure = log_in(&client, "http://tb.invalid", TIMEOUT).await.unwrap_err();
    assert_eq!(failure, Failure::UnexpectedResponse(UnexpectedAnswer::Status { status: 404 }));
    assert_eq!(server.stats().requests, 2);
}

#[tokio::test]
async fn a_proxy_that_does_not_work_is_named_in_the_message() {
    let login = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (asks, refuses, nonsense) = (
        FixedServer::new(login),
        FixedServer::new("HTTP/1.1 503 No\r\n\r\n"),
        FixedServer::new("SSH-2.0-x\r\n\r\n"),
    );
    let closed = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for (proxy, said) in [
        (closed, "Connection refused"),
        (asks.address, "it requires a login (HTTP 407): write http://USER:PASSWORD@HOST:PORT"),
        (refuses.address, "it does not let tbtokend through to the server, or is no HTTP proxy"),
        (nonsense.address, "it does not let tbtokend through to the server, or is no HTTP proxy"),
    ] {
        let client = Client::new(&through(&format!("http://{proxy}"))).unwrap();
        let failure = log_in(&client, "https://tb.invalid", TIMEOUT).await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "nothing was sent: {failure:?}");
        let text = words(&client, "https://tb.invalid").await;
        assert!(text.contains("the proxy of thingsboard.proxy cannot be used: "), "{text}");
        assert!(text.contains(said), "{text}");
    }
    // A request without TLS may have been forwarded, whatever the proxy answers.
    let client = Client::new(&through(&format!("http://{}", asks.address))).unwrap();
    let failure = log_in(&client, "http://tb.invalid", TIMEOUT).await.unwrap_err();
    assert_eq!(failure, Failure::UnexpectedResponse(UnexpectedAnswer::ProxyAuthentication));
    assert!(failure.to_string().contains("thingsboard.proxy"));
    let client = Client::new(&through(&format!("http://{closed}"))).unwrap();
    let text = words(&client, "http://tb.invalid").await;
    assert!(text.contains("the proxy of thingsboard.proxy cannot be used: Connection refused"), "{text}");
    assert!(asks.connections() > 0);
}
