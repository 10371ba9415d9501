//! The shipped configuration of nginx, with TLS before the real daemon. Where there is no nginx, the test says that it did not run.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use tbtoken_tests::canary;
use tbtoken_tests::harness::http::free_port;
use tbtoken_tests::harness::process::Process;
use tbtoken_tests::harness::{Installation, wait};

use super::documents::repository;
use super::http::{token, with_http};

/// The shipped file as a whole configuration, with this port and these files in place of those that root alone may use.
fn configuration(folder: &Path, port: u16, upstream: u16) -> String {
    let shipped = fs::read_to_string(repository().join("packaging/proxy/nginx.conf")).unwrap();
    let folder = folder.display();
    let mut server = shipped;
    for (from, to) in [
        ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
        ("    listen [::]:443 ssl;\n", String::new()),
        ("/etc/ssl/tokens.example.com.pem", format!("{folder}/cert.pem")),
        ("/etc/ssl/private/tokens.example.com.key", format!("{folder}/key.pem")),
        ("http://127.0.0.1:9137", format!("http://127.0.0.1:{upstream}")),
    ] {
        assert!(server.contains(from), "nginx.conf has no {from}");
        server = server.replace(from, &to);
    }
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    // One process, which ends with the test.
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\nevents {{}}\nhttp {{ access_log off;\n{temporary}{server}}}\n"
    )
}

/// Sends a request over TLS, and returns the answer.
fn ask(folder: &Path, port: u16, head: &str, body: &str) -> String {
    let request = folder.join("request");
    let length = body.len();
    let text = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    fs::write(&request, text).unwrap();
    let output = Command::new("openssl")
        .args(["s_client", "-quiet", "-servername", "tokens.example.com", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(File::open(request).unwrap())
        .output()
        .unwrap();
    canary::assert_clean("an answer of the proxy", &output.stdout);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nginx_with_the_shipped_configuration_passes_on_name_and_token() {
    for (program, argument) in [("nginx", "-v"), ("openssl", "version")] {
        if Command::new(program).arg(argument).stderr(Stdio::null()).output().is_err() {
            println!("did not run: there is no {program} here (Debian: apt-get install nginx-light openssl)");
            return;
        }
    }
    let (port, upstream) = (free_port(), free_port());
    let installation =
        with_http(Installation::new(), upstream).with("http.allowed_hosts", vec!["tokens.example.com"]);
    let daemon = installation.start();
    daemon.wait_for_log("HTTP listens at");
    let folder = installation.folder();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=tokens.example.com"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(folder, port, upstream)).unwrap();
    let log = folder.join("nginx.log");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(&log);
    let _nginx = Process::spawn(&mut command).unwrap();
    let connects = wait::poll(wait::TIMEOUT, || TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(connects.is_some(), "{:?}", fs::read_to_string(&log));

    let authorization = format!("Host: tokens.example.com\r\nAuthorization: Bearer {}", token("read"));
    let metrics = ask(folder, port, &format!("GET /metrics HTTP/1.1\r\n{authorization}"), "");
    assert!(
        metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("\ntbtokend_customers 0\n"),
        "{metrics}"
    );
    // The page sends its origin.
    let head = format!(
        "POST /api/cron/refresh-tokens HTTP/1.1\r\n{authorization}\r\nOrigin: https://tokens.example.com\r\nContent-Type: application/json"
    );
    let status = ask(folder, port, &head, r#"{"action":"status"}"#);
    assert!(status.starts_with("HTTP/1.1 200 ") && status.contains("\"success\":true"), "{status}");
    for (code, head) in [
        (401, "GET /metrics HTTP/1.1\r\nHost: tokens.example.com"),
        (421, "GET /metrics HTTP/1.1\r\nHost: evil.example"),
    ] {
        let answer = ask(folder, port, head, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(
            answer.to_ascii_lowercase().contains("content-security-policy: default-src 'none'"),
            "{answer}"
        );
    }
}
